package event

import (
	"bytes"
	"errors"
	"strings"
	"unicode/utf8"
	"unsafe"

	"github.com/tidwall/gjson"

	"kohort.dev/kohort/internal/jsonscan"
)

// member of an object: its key, and the JSON of its value.
type member struct{ key, value string }

// scanner takes JSON apart in one pass, and is used again and again for its buffers.
type scanner struct {
	json    jsonscan.Scanner
	text    string
	members []member
	items   []scanned
}

// scanned is an item of a batch.
type scanned struct {
	raw     string
	members [2]int // from and to in the scanner's list
}

var errNoObject = errors.New("not an object")

func (s *scanner) begin(text string) {
	s.text, s.members, s.items = text, s.members[:0], s.items[:0]
	s.json = jsonscan.Scanner{Text: unsafe.Slice(unsafe.StringData(text), len(text)), MaxDepth: MaxDepth} //nolint:gosec // it only reads
}

// object gives the members of an object that is all of a text. The error is a *jsonscan.Error when that is no JSON. odd says
// that some readers may not read it, see [jsonscan.Scanner].
func (s *scanner) object(text string) (members []member, odd bool, err error) {
	s.begin(text)
	if !strings.HasPrefix(text, "{") {
		if err := s.json.Check(); err != nil {
			return nil, false, err
		}
		return nil, false, errNoObject
	}
	if !s.ends(s.list(0)) {
		return nil, false, s.json.Err
	}
	return s.members, s.json.Odd, nil
}

// list appends the members of an object that stands one object deep.
func (s *scanner) list(at int) int {
	return s.json.Members(at, func(key []byte, at int) int {
		end := s.json.Value(at, 1)
		if end >= 0 {
			s.members = append(s.members, member{keyOf(key), s.text[at:end]})
		}
		return end
	})
}

// ends says whether nothing but white space follows.
func (s *scanner) ends(at int) bool {
	if at >= 0 {
		if at = s.json.Space(at); at < len(s.text) {
			at = s.json.Fail(at, "unexpected text after the JSON value")
		}
	}
	return at >= 0
}

// keyOf takes a key out of its quotes.
func keyOf(quoted []byte) string {
	text := unsafe.String(unsafe.SliceData(quoted), len(quoted)) //nolint:gosec // a part of a string
	if bytes.IndexByte(quoted, '\\') >= 0 {
		return gjson.Parse(text).Str
	}
	return text[1 : len(text)-1]
}

// batch takes a body apart that is JSON all through, every item an object, as nearly all are, and calls beside for what
// stands beside the items. It is false for all others, whose items have to be told apart one by one, and then nothing of
// what it called beside for counts.
func (s *scanner) batch(body string, beside func(key, value string)) bool {
	if !utf8.ValidString(body) || !strings.HasPrefix(body, "{") {
		return false
	}
	s.begin(body)
	found := false
	at := s.json.Members(0, func(key []byte, at int) int {
		name := keyOf(key)
		if name != "batch" {
			end := s.json.Value(at, 1)
			if end >= 0 {
				beside(name, s.text[at:end])
			}
			return end
		}
		if at >= len(body) || body[at] != '[' {
			return s.json.Fail(at, "expected a list")
		}
		found, s.items, s.members = true, s.items[:0], s.members[:0] // of two the last counts
		return s.json.Each(at, func(at int) int {
			if at >= len(body) || body[at] != '{' {
				return s.json.Fail(at, "expected an object")
			}
			from := len(s.members)
			end := s.list(at)
			if end >= 0 {
				s.items = append(s.items, scanned{s.text[at:end], [2]int{from, len(s.members)}})
			}
			return end
		})
	})
	return s.ends(at) && found && !s.json.Odd
}
