package destination

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// hashLike is what a digest or a token looks like: it stands for a person as well as the value that it was made from.
var hashLike = regexp.MustCompile(`[0-9A-Fa-f]{32,}|[A-Za-z0-9+/_-]{43,}=*`)

// mask hides what is personal in what a person is shown of a record: its values, however a destination writes them, and
// what looks like the address, the number or the digest of anybody.
type mask struct {
	values map[string]bool // of the record, without what is no letter and no digit, in lower case
	within *regexp.Regexp  // the same values within a longer text; nil: there are none
	public map[string]bool // texts that are shown as they are unless they are values of the record
	// secrets are credentials that were sent: a destination may say them back.
	secrets []string
}

// newMask makes the mask of a record. public are texts that name nobody, such as those of an order.
func newMask(op Operation, public []string) *mask {
	m := &mask{values: map[string]bool{}, public: map[string]bool{}}
	for _, text := range public {
		m.public[text] = true
	}
	values := personal(op)
	for _, raw := range op.Traits {
		values = append(values, scalars(raw)...)
	}
	slices.SortFunc(values, func(a, b string) int { return len(b) - len(a) })
	var patterns []string
	for _, value := range values {
		if plain := letters(value); plain != "" {
			m.values[plain] = true
		}
		if len(value) >= 3 { // as in personal: fewer letters name nobody, and stand within any word
			patterns = append(patterns, regexp.QuoteMeta(value))
		}
	}
	if len(patterns) > 0 {
		m.within = regexp.MustCompile("(?i)" + strings.Join(patterns, "|"))
	}
	return m
}

// scalars are the texts and numbers within a trait's value.
func scalars(raw json.RawMessage) []string {
	var out []string
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	for {
		token, err := decoder.Token()
		if err != nil {
			return out // the end: traits are JSON
		}
		switch v := token.(type) {
		case string:
			out = append(out, v)
		case json.Number:
			out = append(out, v.String())
		}
	}
}

// letters and digits of a text in lower case: what is left the same by how destinations write values.
func letters(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, text)
}

// hide leaves the first letter of a text, by which a person knows it again.
func hide(text string) string {
	runes := []rune(text)
	if len(runes) < 4 {
		return "…"
	}
	return string(runes[0]) + "…"
}

// value of a field.
func (m *mask) value(text string) string {
	if m.values[letters(text)] {
		return hide(text)
	}
	if m.public[text] {
		return text
	}
	if _, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return text
	}
	return m.text(text)
}

// text in words.
func (m *mask) text(text string) string {
	for _, secret := range m.secrets {
		text = strings.ReplaceAll(text, secret, "…")
	}
	if m.within != nil {
		text = m.within.ReplaceAllStringFunc(text, hide)
	}
	for _, like := range []*regexp.Regexp{hashLike, mailLike, numberLike} {
		text = like.ReplaceAllStringFunc(text, hide)
	}
	return text
}

// json writes JSON with every key and value masked, in the order in which it stands, and indented. What is no JSON is
// masked as a text.
func (m *mask) json(raw []byte) string {
	var out bytes.Buffer
	if err := m.rewrite(&out, raw); err != nil {
		return m.text(string(raw))
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, out.Bytes(), "", "  "); err != nil {
		return m.text(string(raw))
	}
	return indented.String()
}

// rewrite copies one JSON value. A decoder tells tokens and not what stands between them.
func (m *mask) rewrite(out *bytes.Buffer, raw []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	type level struct {
		object bool
		tokens int
	}
	open := []level{{}}
	for {
		token, err := decoder.Token()
		if err == io.EOF && len(open) == 1 && open[0].tokens == 1 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading JSON: %w", err)
		}
		at := &open[len(open)-1]
		if delim, is := token.(json.Delim); is && (delim == '}' || delim == ']') {
			open = open[:len(open)-1]
			out.WriteRune(rune(delim))
			continue
		}
		switch {
		case at.object && at.tokens%2 == 1:
			out.WriteByte(':')
		case at.tokens > 0:
			out.WriteByte(',')
		}
		at.tokens++
		switch v := token.(type) {
		case json.Delim:
			out.WriteRune(rune(v))
			open = append(open, level{object: v == '{'})
		case string:
			out.Write(quoted(m.value(v)))
		case json.Number:
			if text := m.value(v.String()); text != v.String() {
				out.Write(quoted(text))
			} else {
				out.WriteString(text)
			}
		case bool:
			out.WriteString(strconv.FormatBool(v))
		default:
			out.WriteString("null")
		}
	}
}

func quoted(text string) []byte {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(text); err != nil { // texts always encode
		panic(err)
	}
	return bytes.TrimRight(out.Bytes(), "\n")
}
