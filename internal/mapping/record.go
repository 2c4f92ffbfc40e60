package mapping

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// MaxRecord is the largest record in bytes as it stands in its source. An event may have 32 KiB; records have more fields.
const MaxRecord = 1 << 20

// Format says how the text of a record is read.
type Format string

// Formats of records.
const (
	// JSON : one value.
	JSON Format = "json"
	// Text : JSON, or the text as it is when it is none.
	Text Format = "text"
	// Form : application/x-www-form-urlencoded.
	Form Format = "form"
	// CSV : a row whose fields Columns names.
	CSV Format = "csv"
)

// Record is what there is of a record beside its text. It is kept in quarantine with the text, so that the record can be
// mapped again.
type Record struct {
	// Number of the record in its file, result or batch, from 1: what mappings see as row().
	Number int64  `json:"number"`
	Format Format `json:"format"`
	// Columns of a CSV file.
	Columns []string `json:"columns,omitempty"`
	// Origin tells where the record stands: the parts of message ids before its text.
	Origin []string `json:"origin"`
	// Numbered says that the origin alone tells it from every other record; else its text is a part of message ids.
	Numbered bool `json:"numbered,omitempty"`
	// Moment of the run is a part of the ids of identify calls: a trait may go from a to b and back, which are two events.
	Moment string `json:"moment,omitempty"`
	// Metadata is what came beside the record: what mappings see as metadata("name").
	Metadata map[string]string `json:"metadata,omitempty"`
	// Refused are the numbers of the events, from 0, that could not be taken while those beside them were. Empty: none was.
	Refused []int `json:"refused,omitempty"`
}

// MessageID of an event that has none of its own: the same in every run. kind is the event's type, index its number of
// those that the mapping makes of the record.
func (r Record) MessageID(raw, kind string, index int) string {
	parts := slices.Clone(r.Origin)
	if !r.Numbered {
		parts = append(parts, raw)
	}
	parts = append(parts, strconv.Itoa(index))
	if kind == "identify" && r.Moment != "" {
		parts = append(parts, r.Moment)
	}
	return "pull-" + Fingerprint(parts...)
}

// Fingerprint of texts, 32 hexadecimal digits. No two lists of texts look the same.
func Fingerprint(parts ...string) string {
	hash := sha256.New()
	var size [8]byte
	for _, part := range parts {
		binary.BigEndian.PutUint64(size[:], uint64(len(part)))
		hash.Write(size[:])
		hash.Write([]byte(part))
	}
	return hex.EncodeToString(hash.Sum(nil)[:16])
}

// Value reads a record: what mappings see as this.
func (r Record) Value(raw string) (any, *Fault) {
	if !utf8.ValidString(raw) {
		return nil, Unreadable(InvalidEncoding, "the record is not UTF-8; write it as UTF-8")
	}
	switch {
	case r.Format == CSV:
		return r.row(raw)
	case r.Format == JSON, json.Valid([]byte(raw)): // whatever a sender calls it: curl calls all that it sends a form
		return parseJSON(raw)
	case r.Format == Form:
		return parseForm(raw)
	}
	return raw, nil
}

func (r Record) row(raw string) (any, *Fault) {
	fields := SplitCSV(raw)
	if len(fields) != len(r.Columns) {
		return nil, Unreadable(InvalidCSV, "the row has %d fields and the header has %d", len(fields), len(r.Columns))
	}
	row := make(map[string]any, len(fields))
	for i, name := range r.Columns {
		row[name] = fields[i]
	}
	return row, nil
}

// parseJSON keeps numbers as they are written: 2^53 and money must not be rounded on their way to the mapping.
func parseJSON(raw string) (any, *Fault) {
	decoder := json.NewDecoder(strings.NewReader(raw))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, Unreadable(InvalidJSON, "the record is not JSON: %v", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, Unreadable(InvalidJSON, "the record holds more than one JSON value")
	}
	return value, nil
}

func parseForm(raw string) (any, *Fault) {
	fields, err := url.ParseQuery(raw)
	if err != nil {
		return nil, Unreadable(InvalidJSON, "the form cannot be read: %v", err)
	}
	form := map[string]any{}
	for name, values := range fields {
		form[name] = values[0]
	}
	return form, nil
}

// SplitCSV takes apart a row that is well formed (RFC 4180), without its line break.
func SplitCSV(raw string) []string {
	fields := make([]string, 0, 16)
	for {
		if !strings.HasPrefix(raw, `"`) {
			field, rest, more := strings.Cut(raw, ",")
			fields = append(fields, field)
			if !more {
				return fields
			}
			raw = rest
			continue
		}
		end := 1
		for {
			end += strings.IndexByte(raw[end:], '"')
			if end+1 < len(raw) && raw[end+1] == '"' {
				end += 2
				continue
			}
			break
		}
		fields = append(fields, strings.ReplaceAll(raw[1:end], `""`, `"`))
		rest := strings.TrimPrefix(raw[end+1:], "\r")
		if rest == "" {
			return fields
		}
		raw = rest[1:]
	}
}
