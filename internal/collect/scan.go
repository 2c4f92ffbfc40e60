package collect

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/bits"
)

// maxDepth of nested objects and arrays. Nothing that an SDK sends comes near; a body of nothing but brackets does.
const maxDepth = 512

// shape is what the collector has to know of a body.
type shape struct {
	object   bool   // the body is an object
	writeKey string // its field writeKey, when a text
	batch    bool   // it has a field batch that is an array
	items    int    // number of that array's elements
}

// syntaxError says where a body stops being JSON.
type syntaxError struct {
	offset int
	what   string
}

func (e *syntaxError) Error() string { return fmt.Sprintf("%s at byte %d", e.what, e.offset) }

// scan checks in one pass that body is one JSON value (RFC 8259) and tells its shape; nothing is decoded or copied.
func scan(body []byte) (shape, error) {
	s := scanner{body: body}
	at := s.space(0)
	if at < len(body) && body[at] == '{' {
		s.shape.object = true
		at = s.top(at)
	} else {
		at = s.value(at, 0)
	}
	if at >= 0 {
		if at = s.space(at); at < len(body) {
			at = s.fail(at, "unexpected text after the JSON value")
		}
	}
	if at < 0 {
		return shape{}, s.err
	}
	return s.shape, nil
}

// scanner walks a body. Its methods take the offset where a thing starts and return the offset after it, or -1.
type scanner struct {
	body      []byte
	shape     shape
	batchSeen bool
	err       error
}

func (s *scanner) fail(at int, what string) int {
	if at >= len(s.body) {
		what = "unexpected end"
	}
	s.err = &syntaxError{offset: min(at, len(s.body)), what: what}
	return -1
}

func (s *scanner) space(at int) int {
	for at < len(s.body) {
		switch s.body[at] {
		case ' ', '\n', '\r', '\t':
			at++
		default:
			return at
		}
	}
	return at
}

// top scans the object that the body is, and looks at its fields batch and writeKey.
func (s *scanner) top(at int) int {
	return s.members(at, func(key []byte, at int) int {
		switch fieldName(key) {
		case "batch":
			if s.batchSeen {
				return s.fail(at, `second field "batch"`) // readers differ in which of two counts
			}
			s.batchSeen = true
			if at < len(s.body) && s.body[at] == '[' {
				s.shape.batch = true
				return s.elements(at, 1, &s.shape.items)
			}
		case "writeKey":
			end := s.value(at, 1)
			if end > 0 && s.body[at] == '"' {
				s.shape.writeKey = text(s.body[at:end])
			}
			return end
		}
		return s.value(at, 1)
	})
}

func (s *scanner) value(at, depth int) int {
	if at >= len(s.body) {
		return s.fail(at, "")
	}
	switch c := s.body[at]; c {
	case '"':
		return s.str(at)
	case '{':
		if depth >= maxDepth {
			return s.fail(at, fmt.Sprintf("nesting deeper than %d", maxDepth))
		}
		return s.object(at, depth+1)
	case '[':
		if depth >= maxDepth {
			return s.fail(at, fmt.Sprintf("nesting deeper than %d", maxDepth))
		}
		var items int
		return s.elements(at, depth+1, &items)
	case 't':
		return s.literal(at, "true")
	case 'f':
		return s.literal(at, "false")
	case 'n':
		return s.literal(at, "null")
	default:
		return s.number(at)
	}
}

// members scans an object and gives each member's raw key, quotes included, and the offset of its value to member.
func (s *scanner) members(at int, member func(key []byte, at int) int) int {
	at = s.space(at + 1)
	if at < len(s.body) && s.body[at] == '}' {
		return at + 1
	}
	for {
		start := at
		if at >= len(s.body) || s.body[at] != '"' {
			return s.fail(at, "expected a field name in quotes")
		}
		if at = s.str(at); at < 0 {
			return -1
		}
		key := s.body[start:at]
		if at = s.space(at); at >= len(s.body) || s.body[at] != ':' {
			return s.fail(at, "expected ':' after a field name")
		}
		if at = member(key, s.space(at+1)); at < 0 {
			return -1
		}
		at = s.space(at)
		if at >= len(s.body) {
			return s.fail(at, "")
		}
		switch s.body[at] {
		case ',':
			at = s.space(at + 1)
		case '}':
			return at + 1
		default:
			return s.fail(at, "expected ',' or '}' after a field")
		}
	}
}

// object is members without looking at them, written out because it is where the time goes.
func (s *scanner) object(at, depth int) int {
	body := s.body
	at = s.space(at + 1)
	if at < len(body) && body[at] == '}' {
		return at + 1
	}
	for {
		if at >= len(body) || body[at] != '"' {
			return s.fail(at, "expected a field name in quotes")
		}
		if at = s.str(at); at < 0 {
			return -1
		}
		if at >= len(body) || body[at] != ':' {
			if at = s.space(at); at >= len(body) || body[at] != ':' {
				return s.fail(at, "expected ':' after a field name")
			}
		}
		if at = s.value(s.space(at+1), depth); at < 0 {
			return -1
		}
		if at = s.space(at); at >= len(body) {
			return s.fail(at, "")
		}
		switch body[at] {
		case ',':
			at = s.space(at + 1)
		case '}':
			return at + 1
		default:
			return s.fail(at, "expected ',' or '}' after a field")
		}
	}
}

func (s *scanner) elements(at, depth int, items *int) int {
	at = s.space(at + 1)
	if at < len(s.body) && s.body[at] == ']' {
		return at + 1
	}
	for {
		if at = s.value(at, depth); at < 0 {
			return -1
		}
		*items++
		if at = s.space(at); at >= len(s.body) {
			return s.fail(at, "")
		}
		switch s.body[at] {
		case ',':
			at = s.space(at + 1)
		case ']':
			return at + 1
		default:
			return s.fail(at, "expected ',' or ']' after an element")
		}
	}
}

func (s *scanner) literal(at int, word string) int {
	if len(s.body)-at >= len(word) && string(s.body[at:at+len(word)]) == word {
		return at + len(word)
	}
	return s.fail(at, "expected "+word)
}

func (s *scanner) number(at int) int {
	start := at
	if at < len(s.body) && s.body[at] == '-' {
		at++
	}
	switch {
	case at < len(s.body) && s.body[at] == '0':
		at++
	case at < len(s.body) && s.body[at] >= '1' && s.body[at] <= '9':
		at = s.digits(at)
	default:
		if at == start {
			return s.fail(at, "expected a value")
		}
		return s.fail(at, "expected a digit")
	}
	if at < len(s.body) && s.body[at] == '.' {
		after := s.digits(at + 1)
		if after == at+1 {
			return s.fail(after, "expected a digit")
		}
		at = after
	}
	if at < len(s.body) && s.body[at]|0x20 == 'e' {
		at++
		if at < len(s.body) && (s.body[at] == '+' || s.body[at] == '-') {
			at++
		}
		after := s.digits(at)
		if after == at {
			return s.fail(after, "expected a digit")
		}
		at = after
	}
	return at
}

func (s *scanner) digits(at int) int {
	for at < len(s.body) && s.body[at] >= '0' && s.body[at] <= '9' {
		at++
	}
	return at
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// str scans a string, eight bytes at a time until one of them needs a look: a quote, a backslash or a control
// character. The word tricks are those of Mycroft (1987): in (x-ones)&^x&highs the lowest bit set is that of a zero byte.
func (s *scanner) str(at int) int {
	body := s.body
	at++
	for {
		for at+8 <= len(body) {
			word := binary.LittleEndian.Uint64(body[at:])
			quote := word ^ ones*'"'
			slash := word ^ ones*'\\'
			found := ((quote - ones) &^ quote) | ((slash - ones) &^ slash) | ((word - ones*0x20) &^ word)
			if found &= highs; found != 0 {
				at += bits.TrailingZeros64(found) / 8
				break
			}
			at += 8
		}
		for at < len(body) && body[at] != '"' && body[at] != '\\' && body[at] >= 0x20 {
			at++ // the last bytes of the body
		}
		if at >= len(body) {
			return s.fail(at, "")
		}
		switch body[at] {
		case '"':
			return at + 1
		case '\\':
			if at = s.escape(at + 1); at < 0 {
				return -1
			}
		default:
			return s.fail(at, "control character in a string")
		}
	}
}

func (s *scanner) escape(at int) int {
	if at >= len(s.body) {
		return s.fail(at, "")
	}
	switch s.body[at] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return at + 1
	case 'u':
		for i := at + 1; i <= at+4; i++ {
			if i >= len(s.body) || !hex(s.body[i]) {
				return s.fail(i, "expected four hexadecimal digits")
			}
		}
		return at + 5
	default:
		return s.fail(at, "unknown escape in a string")
	}
}

func hex(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f'
}

// fieldName is a raw key without its quotes and escapes.
func fieldName(raw []byte) string {
	for _, c := range raw {
		if c == '\\' {
			return text(raw)
		}
	}
	return string(raw[1 : len(raw)-1])
}

// text decodes a string that scan found valid.
func text(raw []byte) string {
	var out string
	if err := json.Unmarshal(raw, &out); err != nil {
		return ""
	}
	return out
}
