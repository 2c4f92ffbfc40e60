package destination

import (
	"encoding/json"
	"fmt"
	"strings"
)

// statement of SQL with its arguments.
type statement struct {
	doing string // in words
	text  string
	args  []any
}

// statements writes down a transaction. holder is the place of the table, without the login.
func (t *trace) statements(holder string, all []statement) error {
	if t == nil || len(all) == 0 {
		return nil
	}
	var body strings.Builder
	for i, s := range all {
		if i > 0 {
			body.WriteString("\n")
		}
		body.WriteString(s.text + ";\n")
		for j, arg := range s.args {
			fmt.Fprintf(&body, "-- argument %d: %s\n", j+1, t.mask.argument(arg))
		}
	}
	return t.say(Exchange{To: "TRANSACTION " + holder, Body: strings.TrimRight(body.String(), "\n")})
}

// argument on one line: a text, or a list of texts each of which may hold JSON.
func (m *mask) argument(arg any) string {
	list, ok := arg.([]string)
	if !ok {
		return m.line(fmt.Sprint(arg))
	}
	lines := make([]string, len(list))
	for i, text := range list {
		lines[i] = m.line(text)
	}
	return "[" + strings.Join(lines, ", ") + "]"
}

// line is a value that may hold JSON.
func (m *mask) line(text string) string {
	if !strings.HasPrefix(text, "{") || !json.Valid([]byte(text)) {
		return m.value(text)
	}
	return strings.Join(strings.Fields(m.json([]byte(text))), " ")
}

// object encodes a map as a JSON object; a nil map is an empty one.
func object[V any](m map[string]V) string {
	if m == nil {
		return "{}"
	}
	text, err := json.Marshal(m)
	if err != nil { // the values are texts, or JSON that was checked when it was read
		panic(err)
	}
	return string(text)
}
