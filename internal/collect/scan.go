package collect

import (
	"encoding/json"

	"kohort.dev/kohort/internal/jsonscan"
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

// scan checks in one pass that body is one JSON value (RFC 8259) and tells its shape; nothing is decoded or copied.
func scan(body []byte) (shape, error) {
	s := scanner{Scanner: jsonscan.Scanner{Text: body, MaxDepth: maxDepth}}
	at := s.Space(0)
	if at < len(body) && body[at] == '{' {
		s.shape.object = true
		at = s.top(at)
	} else {
		at = s.Value(at, 0)
	}
	if at >= 0 {
		if at = s.Space(at); at < len(body) {
			at = s.Fail(at, "unexpected text after the JSON value")
		}
	}
	if at < 0 {
		return shape{}, s.Err
	}
	return s.shape, nil
}

// scanner looks at the fields of a body on the way.
type scanner struct {
	jsonscan.Scanner
	shape     shape
	batchSeen bool
}

// top scans the object that the body is, and looks at its fields batch and writeKey.
func (s *scanner) top(at int) int {
	return s.Members(at, func(key []byte, at int) int {
		switch fieldName(key) {
		case "batch":
			if s.batchSeen {
				return s.Fail(at, `second field "batch"`) // readers differ in which of two counts
			}
			s.batchSeen = true
			if at < len(s.Text) && s.Text[at] == '[' {
				s.shape.batch = true
				return s.Elements(at, 1, &s.shape.items)
			}
		case "writeKey":
			end := s.Value(at, 1)
			if end > 0 && s.Text[at] == '"' {
				s.shape.writeKey = text(s.Text[at:end])
			}
			return end
		}
		return s.Value(at, 1)
	})
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
