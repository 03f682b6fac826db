package binance

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// LimitError reports that too much was asked. With status 418 the address is
// banned. Nothing may be asked before RetryAfter has passed; the budget sees to
// that.
type LimitError struct {
	Status     int
	RetryAfter time.Duration // 0 if the server named none
	Code       int64
	Message    string
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("binance limits calls: http %d, code %d, %.200q, retry after %v", e.Status, e.Code, e.Message, e.RetryAfter)
}

// APIError is any other answer but 200.
type APIError struct {
	Status  int
	Code    int64 // 0 if the body had none
	Message string
}

func (e *APIError) Error() string {
	text := fmt.Sprintf("binance answers http %d, code %d, %.200q", e.Status, e.Code, e.Message)
	if e.Code == 0 && e.Status == http.StatusNotFound {
		text += ": is --binance-rest the address of its REST side?"
	}
	return text
}

// brokenError reports an answer that broke off.
type brokenError struct{ err error }

func (e *brokenError) Error() string { return "answer broke off: " + e.err.Error() }
func (e *brokenError) Unwrap() error { return e.err }

func broken(err error) bool {
	var e *brokenError
	return errors.As(err, &e)
}

// Limited reports whether err is the exchange's word to stop asking, and for
// how long.
func Limited(err error) (time.Duration, bool) {
	var e *LimitError
	if errors.As(err, &e) {
		return e.RetryAfter, true
	}
	return 0, false
}

// Codes with which the exchange says that it could not answer now.
const (
	codeDisconnected = -1001
	codeTooMany      = -1003
	codeTimeout      = -1007
	codeBusy         = -1008
)

// retryPause is the least wait before a call that failed is made again.
const retryPause = time.Second

// Retryable reports whether the same call may fare better after wait: the
// server could not be reached, did not answer in time, or had trouble of its
// own. A request that it refused will be refused again. Who calls looks at his
// own context first: its deadline looks like the server's silence.
func Retryable(err error) (wait time.Duration, ok bool) {
	var limit *LimitError
	var api *APIError
	switch {
	case err == nil || errors.Is(err, context.Canceled):
		return 0, false
	case errors.As(err, &limit):
		if limit.RetryAfter > 0 {
			return limit.RetryAfter, true
		}
		if limit.Status == http.StatusTeapot {
			return banWait, true
		}
		return limitWait, true
	case errors.As(err, &api):
		switch {
		case api.Code == codeTooMany:
			return limitWait, true
		case api.Status >= 500, api.Status == http.StatusRequestTimeout,
			api.Code == codeDisconnected, api.Code == codeTimeout, api.Code == codeBusy:
			return retryPause, true
		}
		return 0, false
	}
	if unreached(err) && !distrusted(err) || broken(err) || errors.Is(err, context.DeadlineExceeded) {
		return retryPause, true
	}
	return 0, false
}

// elsewhere reports whether another server may answer what this one did not.
// The limits hold for all of them.
func elsewhere(err error) bool {
	if errors.Is(err, context.Canceled) {
		return false
	}
	var api *APIError
	return errors.As(err, &api) && api.Status >= 500 || unreached(err) || broken(err)
}

// unreached reports whether there was no answer at all.
func unreached(err error) bool {
	var ue *url.Error
	var ne net.Error
	return errors.As(err, &ue) || errors.As(err, &ne) && !errors.Is(err, context.DeadlineExceeded)
}

// distrusted reports whether the server's certificate was refused: time does
// not heal that.
func distrusted(err error) bool {
	var ce *tls.CertificateVerificationError
	return errors.As(err, &ce)
}

func statusError(resp *http.Response) error {
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	if err != nil && len(data) == 0 {
		data = []byte("(no body: " + err.Error() + ")") // the status says enough
	}
	var body struct {
		Code int64  `json:"code"`
		Msg  string `json:"msg"`
	}
	if json.Unmarshal(data, &body) != nil {
		body.Code, body.Msg = 0, string(data[:min(len(data), 200)])
		if isHTML(resp.Header, data) {
			body.Msg = describeHTML(data)
			switch resp.StatusCode {
			case http.StatusForbidden:
				body.Msg += "; the firewall before the exchange refuses this request or this address"
			case http.StatusUnavailableForLegalReasons:
				body.Msg += "; the exchange does not serve this place"
			}
		}
	}
	if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusTeapot {
		return &LimitError{Status: resp.StatusCode, Code: body.Code, Message: body.Msg, RetryAfter: retryAfter(resp.Header)}
	}
	return &APIError{Status: resp.StatusCode, Code: body.Code, Message: body.Msg}
}

func isHTML(h http.Header, body []byte) bool {
	return strings.HasPrefix(strings.ToLower(h.Get("Content-Type")), "text/html") || bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n\ufeff"), []byte("<"))
}

// describeHTML names a page by its title.
func describeHTML(page []byte) string {
	const open = "<title>"
	low := bytes.ToLower(page[:min(len(page), 4096)])
	from := bytes.Index(low, []byte(open))
	if from < 0 {
		return "a page of HTML"
	}
	rest := low[from+len(open):]
	to := bytes.IndexByte(rest, '<')
	if to < 0 {
		to = len(rest)
	}
	// Letters that change their length with their case would shift the title.
	if len(low) == min(len(page), 4096) {
		rest = page[from+len(open):]
	}
	title := strings.Join(strings.Fields(string(rest[:to])), " ")
	return fmt.Sprintf("a page of HTML titled %.80q", title)
}
