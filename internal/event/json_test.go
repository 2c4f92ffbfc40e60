package event_test

import (
	"encoding/json"
	"unicode/utf8"
)

// validObject asks another parser than the one under test.
func validObject(text string) bool {
	return len(text) > 1 && text[0] == '{' && json.Valid([]byte(text)) && utf8.ValidString(text)
}
