package double

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

const methods = "`SUBSCRIBE`, `UNSUBSCRIBE`, `LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, `GET_PROPERTY`"

// refusal is the error answer to a control message.
type refusal struct {
	code int
	msg  string
}

// control answers one control message, and does what it says.
func (c *client) control(msg []byte) []byte {
	var req struct {
		Method json.RawMessage `json:"method"`
		Params json.RawMessage `json:"params"`
		ID     json.RawMessage `json:"id"`
	}
	id := "null"
	if err := json.Unmarshal(msg, &req); err != nil {
		line, column := position(msg, err)
		return c.refused(id, refusal{3, fmt.Sprintf("Invalid JSON: expected value at line %d column %d", line, column)})
	}
	if len(req.ID) > 0 {
		if !validID(req.ID) {
			return c.refused(id, refusal{2, "Invalid request: request ID must be an unsigned integer"})
		}
		id = string(req.ID)
	}
	result, no := c.do(msg, req.Method, req.Params)
	if no != nil {
		return c.refused(id, *no)
	}
	return []byte(`{"result":` + result + `,"id":` + id + `}`)
}

// refused writes an error: nested as seen on the wire, or flat as documented.
func (c *client) refused(id string, r refusal) []byte {
	text, _ := json.Marshal(r.msg) // a string always can be
	if c.flat {
		return fmt.Appendf(nil, `{"code":%d,"msg":%s,"id":%s}`, r.code, text, id)
	}
	return fmt.Appendf(nil, `{"error":{"code":%d,"msg":%s},"id":%s}`, r.code, text, id)
}

// do carries a request out and gives the JSON of its result.
func (c *client) do(msg []byte, method, params json.RawMessage) (string, *refusal) {
	if len(method) == 0 {
		return "", &refusal{2, "Invalid request: missing field `method`" + c.at(len(bytes.TrimSpace(msg)))}
	}
	var name string
	if json.Unmarshal(method, &name) != nil {
		return "", &refusal{2, "Invalid request: invalid method"}
	}
	switch name {
	case "SUBSCRIBE", "UNSUBSCRIBE":
		var streams []string
		if json.Unmarshal(params, &streams) != nil || len(streams) == 0 {
			return "", &refusal{2, "Invalid request: invalid stream"}
		}
		return c.subscription(name == "SUBSCRIBE", streams)
	case "LIST_SUBSCRIPTIONS":
		list, _ := json.Marshal(append([]string{}, c.streams...)) // strings always can be
		return string(list), nil
	case "SET_PROPERTY", "GET_PROPERTY":
		return c.property(name == "SET_PROPERTY", params)
	}
	end := bytes.Index(msg, method) + len(method)
	return "", &refusal{2, "Invalid request: unknown variant `" + name + "`, expected one of " + methods + fmt.Sprintf(" at line 1 column %d", end)}
}

// at is the position that the documented, flat form of an error ends with.
func (c *client) at(column int) string {
	if !c.flat {
		return ""
	}
	return " at line 1 column " + strconv.Itoa(column)
}

func (c *client) subscription(on bool, streams []string) (string, *refusal) {
	fresh := 0
	for _, s := range streams {
		if !validStream(s) {
			return "", &refusal{2, "Invalid request: invalid stream"}
		}
		if !c.subscribed(s) {
			fresh++
		}
	}
	if on && len(c.streams)+fresh > maxStreams {
		return "", &refusal{4, "Too many subscriptions"}
	}
	for _, s := range streams {
		if on {
			c.add(s)
		} else {
			c.remove(s)
		}
	}
	return "null", nil
}

func (c *client) property(set bool, params json.RawMessage) (string, *refusal) {
	var p []any
	want := 1
	if set {
		want = 2
	}
	if json.Unmarshal(params, &p) != nil || len(p) == 0 {
		return "", &refusal{2, "Invalid request: property name must be a string"}
	}
	name, ok := p[0].(string)
	switch {
	case !ok:
		return "", &refusal{2, "Invalid request: property name must be a string"}
	case len(p) > want:
		return "", &refusal{2, "Invalid request: too many parameters"}
	case name != "combined":
		return "", &refusal{0, "Unknown property"}
	case !set:
		return strconv.FormatBool(c.combined.Load()), nil
	}
	on, ok := false, false
	if len(p) == 2 {
		on, ok = p[1].(bool)
	}
	if !ok {
		return "", &refusal{1, "Invalid value type: expected Boolean"}
	}
	c.combined.Store(on)
	return "null", nil
}

// validStream accepts what has the form of a stream's name. Whether there is
// such a symbol does not matter: Binance acknowledges and stays silent.
func validStream(name string) bool {
	if len(name) > 128 {
		return false
	}
	if strings.HasPrefix(name, "!") {
		return len(name) > 1
	}
	symbol, what, ok := strings.Cut(name, "@")
	return ok && symbol != "" && what != "" && !strings.ContainsAny(symbol, " /\"\\")
}

var alphanumeric = regexp.MustCompile(`^"[A-Za-z0-9]{1,36}"$`)

// validID accepts an int64, a short alphanumeric string, or null.
func validID(id json.RawMessage) bool {
	if string(id) == "null" || alphanumeric.Match(id) {
		return true
	}
	_, err := strconv.ParseInt(string(id), 10, 64)
	return err == nil
}

// position finds where a text stopped being JSON.
func position(msg []byte, err error) (line, column int) {
	at := len(msg)
	var se *json.SyntaxError
	var te *json.UnmarshalTypeError
	if errors.As(err, &se) {
		at = int(se.Offset)
	} else if errors.As(err, &te) {
		at = int(te.Offset)
	}
	before := msg[:min(at, len(msg))]
	return 1 + bytes.Count(before, []byte("\n")), len(before) - bytes.LastIndexByte(before, '\n') - 1
}
