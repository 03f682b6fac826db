package binance

// maxDepth bounds the nesting of values that are passed over.
const maxDepth = 64

// Types of a token.
const (
	tNone   byte = iota
	tString      // from and to lie within the quotes
	tInt         // a number without fraction and exponent
	tNumber
	tTrue
	tFalse
	tNull
	tObject
	tArray
)

// token is one JSON value in the frame.
type token struct {
	typ      byte
	escaped  bool  // a string with at least one backslash
	from, to int32 // a frame is far below 2 GiB
}

// scanner walks over JSON text and checks its grammar. After a method returned
// false, fault says what was wrong at position i.
type scanner struct {
	b     []byte
	i     int
	fault string
}

func (s *scanner) fail(what string) bool {
	s.fault = what
	return false
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

// expect takes the byte c, with white space before it.
func (s *scanner) expect(c byte, what string) bool {
	s.space()
	if s.i >= len(s.b) {
		return s.fail("the text ends too early")
	}
	if s.b[s.i] != c {
		return s.fail(what)
	}
	s.i++
	return true
}

// next takes ',' (more is true) or the closing byte.
func (s *scanner) next(closing byte) (more, ok bool) {
	s.space()
	if s.i >= len(s.b) {
		return false, s.fail("the text ends too early")
	}
	c := s.b[s.i]
	s.i++
	switch c {
	case ',':
		return true, true
	case closing:
		return false, true
	}
	s.i--
	return false, s.fail("no comma between two values")
}

// closes takes the closing byte of an empty object or array if it is next.
func (s *scanner) closes(closing byte) bool {
	s.space()
	if s.i < len(s.b) && s.b[s.i] == closing {
		s.i++
		return true
	}
	return false
}

// key takes an object's key and the colon behind it.
func (s *scanner) key() (token, bool) {
	if !s.expect('"', "no key where one must be") {
		return token{}, false
	}
	t, ok := s.str()
	return t, ok && s.expect(':', "no colon behind a key")
}

// str takes the rest of a string whose opening quote has been taken.
func (s *scanner) str() (token, bool) {
	t := token{typ: tString, from: int32(s.i)}
	for s.i < len(s.b) {
		switch c := s.b[s.i]; {
		case c == '"':
			t.to = int32(s.i)
			s.i++
			return t, true
		case c == '\\':
			t.escaped = true
			if !s.escape() {
				return t, false
			}
		case c < 0x20:
			return t, s.fail("a control character in a string")
		default:
			s.i++
		}
	}
	return t, s.fail("the text ends within a string")
}

func (s *scanner) escape() bool {
	s.i++
	if s.i >= len(s.b) {
		return s.fail("the text ends within a string")
	}
	switch s.b[s.i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.i++
		return true
	case 'u':
		if len(s.b)-s.i >= 5 && hex4(s.b[s.i+1:s.i+5]) >= 0 {
			s.i += 5
			return true
		}
	}
	return s.fail("a bad escape in a string")
}

// value takes any value; objects and arrays are checked and passed over.
func (s *scanner) value(depth int) (token, bool) {
	s.space()
	if s.i >= len(s.b) {
		return token{}, s.fail("the text ends too early")
	}
	t := token{from: int32(s.i)}
	var ok bool
	switch c := s.b[s.i]; {
	case c == '"':
		s.i++
		return s.str()
	case c == '-' || c >= '0' && c <= '9':
		t.typ, ok = s.number()
	case c == 't':
		t.typ, ok = tTrue, s.word("true")
	case c == 'f':
		t.typ, ok = tFalse, s.word("false")
	case c == 'n':
		t.typ, ok = tNull, s.word("null")
	case c == '{':
		t.typ, ok = tObject, s.skipObject(depth+1)
	case c == '[':
		t.typ, ok = tArray, s.skipArray(depth+1)
	default:
		return t, s.fail("no value where one must be")
	}
	t.to = int32(s.i)
	return t, ok
}

func (s *scanner) word(w string) bool {
	if len(s.b)-s.i < len(w) || string(s.b[s.i:s.i+len(w)]) != w {
		return s.fail("an unknown word")
	}
	s.i += len(w)
	return true
}

func (s *scanner) digits() bool {
	from := s.i
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		s.i++
	}
	return s.i > from || s.fail("no digit where one must be")
}

func (s *scanner) number() (byte, bool) {
	typ := tInt
	if s.b[s.i] == '-' {
		s.i++
	}
	first := s.i
	if !s.digits() {
		return typ, false
	}
	if s.b[first] == '0' && s.i > first+1 {
		s.i = first
		return typ, s.fail("a number with a leading zero")
	}
	if s.i < len(s.b) && s.b[s.i] == '.' {
		typ = tNumber
		s.i++
		if !s.digits() {
			return typ, false
		}
	}
	if s.i < len(s.b) && (s.b[s.i] == 'e' || s.b[s.i] == 'E') {
		typ = tNumber
		s.i++
		if s.i < len(s.b) && (s.b[s.i] == '+' || s.b[s.i] == '-') {
			s.i++
		}
		if !s.digits() {
			return typ, false
		}
	}
	return typ, true
}

func (s *scanner) skipObject(depth int) bool {
	if depth > maxDepth {
		return s.fail("nested too deep")
	}
	s.i++
	if s.closes('}') {
		return true
	}
	for {
		if _, ok := s.key(); !ok {
			return false
		}
		if _, ok := s.value(depth); !ok {
			return false
		}
		if more, ok := s.next('}'); !more {
			return ok
		}
	}
}

func (s *scanner) skipArray(depth int) bool {
	if depth > maxDepth {
		return s.fail("nested too deep")
	}
	s.i++
	if s.closes(']') {
		return true
	}
	for {
		if _, ok := s.value(depth); !ok {
			return false
		}
		if more, ok := s.next(']'); !more {
			return ok
		}
	}
}
