// Package jsonscan checks JSON (RFC 8259) in one pass; nothing is decoded or copied.
package jsonscan

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// Scanner walks a text. Its methods take the offset where a thing starts and return the offset after it, or -1.
type Scanner struct {
	// Text to scan, and how deep objects and lists may be nested in it.
	Text     []byte
	MaxDepth int

	// Err says why a method gave -1.
	Err *Error
	// Odd says that there may be half of a surrogate pair, an integer beyond 64 bits, or a number beyond a double. RFC 8259
	// leaves what they mean to the reader.
	Odd bool
}

// Error says where a text stops being JSON.
type Error struct {
	Offset int
	What   string
	// Deep says that it is JSON so far, and nested deeper than MaxDepth.
	Deep bool
}

func (e *Error) Error() string { return fmt.Sprintf("%s at byte %d", e.What, e.Offset) }

// Check tells whether the text is one JSON value, with nothing around it but white space.
func (s *Scanner) Check() error {
	at := s.Value(s.Space(0), 0)
	if at >= 0 {
		if at = s.Space(at); at < len(s.Text) {
			at = s.Fail(at, "unexpected text after the JSON value")
		}
	}
	if at < 0 {
		return s.Err
	}
	return nil
}

// Fail says that the text is not as it should be from at on, and gives -1.
func (s *Scanner) Fail(at int, what string) int {
	if at >= len(s.Text) {
		what = "unexpected end"
	}
	s.Err = &Error{Offset: min(at, len(s.Text)), What: what}
	return -1
}

func (s *Scanner) tooDeep(at int) int {
	s.Fail(at, fmt.Sprintf("nesting deeper than %d", s.MaxDepth))
	s.Err.Deep = true
	return -1
}

// Space passes over white space.
func (s *Scanner) Space(at int) int {
	for at < len(s.Text) {
		switch s.Text[at] {
		case ' ', '\n', '\r', '\t':
			at++
		default:
			return at
		}
	}
	return at
}

// Value scans a value that stands depth objects and lists deep.
func (s *Scanner) Value(at, depth int) int {
	if at >= len(s.Text) {
		return s.Fail(at, "")
	}
	switch c := s.Text[at]; c {
	case '"':
		return s.str(at)
	case '{':
		if depth >= s.MaxDepth {
			return s.tooDeep(at)
		}
		return s.object(at, depth+1)
	case '[':
		if depth >= s.MaxDepth {
			return s.tooDeep(at)
		}
		var items int
		return s.Elements(at, depth+1, &items)
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

// Members scans an object and gives each member's raw key, quotes included, and the offset of its value to member.
func (s *Scanner) Members(at int, member func(key []byte, at int) int) int {
	at = s.Space(at + 1)
	if at < len(s.Text) && s.Text[at] == '}' {
		return at + 1
	}
	for {
		start := at
		if at >= len(s.Text) || s.Text[at] != '"' {
			return s.Fail(at, "expected a field name in quotes")
		}
		if at = s.str(at); at < 0 {
			return -1
		}
		key := s.Text[start:at]
		if at = s.Space(at); at >= len(s.Text) || s.Text[at] != ':' {
			return s.Fail(at, "expected ':' after a field name")
		}
		if at = member(key, s.Space(at+1)); at < 0 {
			return -1
		}
		at = s.Space(at)
		if at >= len(s.Text) {
			return s.Fail(at, "")
		}
		switch s.Text[at] {
		case ',':
			at = s.Space(at + 1)
		case '}':
			return at + 1
		default:
			return s.Fail(at, "expected ',' or '}' after a field")
		}
	}
}

// object is Members without looking at them, written out because it is where the time goes.
func (s *Scanner) object(at, depth int) int {
	body := s.Text
	at = s.Space(at + 1)
	if at < len(body) && body[at] == '}' {
		return at + 1
	}
	for {
		if at >= len(body) || body[at] != '"' {
			return s.Fail(at, "expected a field name in quotes")
		}
		if at = s.str(at); at < 0 {
			return -1
		}
		if at >= len(body) || body[at] != ':' {
			if at = s.Space(at); at >= len(body) || body[at] != ':' {
				return s.Fail(at, "expected ':' after a field name")
			}
		}
		if at = s.Value(s.Space(at+1), depth); at < 0 {
			return -1
		}
		if at = s.Space(at); at >= len(body) {
			return s.Fail(at, "")
		}
		switch body[at] {
		case ',':
			at = s.Space(at + 1)
		case '}':
			return at + 1
		default:
			return s.Fail(at, "expected ',' or '}' after a field")
		}
	}
}

// Elements scans a list and counts what is in it.
func (s *Scanner) Elements(at, depth int, items *int) int {
	return s.Each(at, func(at int) int {
		*items++
		return s.Value(at, depth)
	})
}

// Each scans a list and gives the offset of each element to element.
func (s *Scanner) Each(at int, element func(at int) int) int {
	at = s.Space(at + 1)
	if at < len(s.Text) && s.Text[at] == ']' {
		return at + 1
	}
	for {
		if at = element(at); at < 0 {
			return -1
		}
		if at = s.Space(at); at >= len(s.Text) {
			return s.Fail(at, "")
		}
		switch s.Text[at] {
		case ',':
			at = s.Space(at + 1)
		case ']':
			return at + 1
		default:
			return s.Fail(at, "expected ',' or ']' after an element")
		}
	}
}

func (s *Scanner) literal(at int, word string) int {
	if len(s.Text)-at >= len(word) && string(s.Text[at:at+len(word)]) == word {
		return at + len(word)
	}
	return s.Fail(at, "expected "+word)
}

func (s *Scanner) number(at int) int {
	start := at
	if at < len(s.Text) && s.Text[at] == '-' {
		at++
	}
	switch {
	case at < len(s.Text) && s.Text[at] == '0':
		at++
	case at < len(s.Text) && s.Text[at] >= '1' && s.Text[at] <= '9':
		first := at
		if at = s.digits(at); at-first >= 19 {
			s.Odd = true
		}
	default:
		if at == start {
			return s.Fail(at, "expected a value")
		}
		return s.Fail(at, "expected a digit")
	}
	if at < len(s.Text) && s.Text[at] == '.' {
		after := s.digits(at + 1)
		if after == at+1 {
			return s.Fail(after, "expected a digit")
		}
		at = after
	}
	if at < len(s.Text) && s.Text[at]|0x20 == 'e' {
		at++
		if at < len(s.Text) && (s.Text[at] == '+' || s.Text[at] == '-') {
			at++
		}
		after := s.digits(at)
		if after == at {
			return s.Fail(after, "expected a digit")
		}
		if after-at >= 3 {
			s.Odd = true
		}
		at = after
	}
	return at
}

func (s *Scanner) digits(at int) int {
	for at < len(s.Text) && s.Text[at] >= '0' && s.Text[at] <= '9' {
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
func (s *Scanner) str(at int) int {
	body := s.Text
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
			return s.Fail(at, "")
		}
		switch body[at] {
		case '"':
			return at + 1
		case '\\':
			if at = s.escape(at + 1); at < 0 {
				return -1
			}
		default:
			return s.Fail(at, "control character in a string")
		}
	}
}

func (s *Scanner) escape(at int) int {
	if at >= len(s.Text) {
		return s.Fail(at, "")
	}
	switch s.Text[at] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return at + 1
	case 'u':
		for i := at + 1; i <= at+4; i++ {
			if i >= len(s.Text) || !hex(s.Text[i]) {
				return s.Fail(i, "expected four hexadecimal digits")
			}
		}
		if s.Text[at+1]|0x20 == 'd' && s.Text[at+2] >= '8' { // D800 to DFFF
			s.Odd = true
		}
		return at + 5
	default:
		return s.Fail(at, "unknown escape in a string")
	}
}

func hex(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f'
}
