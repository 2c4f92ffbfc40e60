package mapping

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/warpstreamlabs/bento/public/bloblang"
	_ "github.com/warpstreamlabs/bento/public/components/pure" // its methods: times, encodings, objects, strings

	"kohort.dev/kohort/internal/event"
	"kohort.dev/kohort/internal/stream"
)

// Mapping makes events of records, one after the other: it is not for concurrent use.
type Mapping struct {
	program *bloblang.Executor
	// row and metadata of the record that is being mapped
	row      int64
	metadata map[string]string
}

// Compile parses a Bloblang mapping (https://warpstreamlabs.github.io/bento/docs/guides/bloblang/about). It sees the record,
// its number as row(), what came beside it as metadata("name"), and nothing else: what reads files, the environment, other
// mappings or the network is not there. The error names spec.mapping.
func Compile(text string) (*Mapping, error) {
	m := &Mapping{}
	environment, err := bound(bloblang.NewEnvironment().OnlyPure().WithDisabledImports().
		WithoutMethods("json_schema"). // follows references over HTTP
		WithoutMethods("bloblang"))    // parses mappings in an environment of its own
	if err != nil {
		return nil, err
	}
	number := func(*bloblang.ParsedParams) (bloblang.Function, error) {
		return func() (any, error) { return m.row, nil }, nil
	}
	if err := environment.RegisterFunctionV2("row", bloblang.NewPluginSpec(), number); err != nil {
		return nil, fmt.Errorf("making the function row of mappings: %w", err)
	}
	if err := environment.RegisterFunctionV2("metadata", bloblang.NewPluginSpec().Param(bloblang.NewStringParam("name")), m.named); err != nil {
		return nil, fmt.Errorf("making the function metadata of mappings: %w", err)
	}
	program, err := environment.Parse(text)
	if err == nil {
		m.program = program
		return m, nil
	}
	where, what := "", err.Error()
	var parse *bloblang.ParseError
	if errors.As(err, &parse) {
		where = fmt.Sprintf(" at line %d, column %d", parse.Line, parse.Column)
		what = positionPrefix.ReplaceAllString(parse.Error(), "")
	}
	return nil, fmt.Errorf("spec.mapping does not parse%s: %s; correct it (Bloblang: https://warpstreamlabs.github.io/bento/docs/guides/bloblang/about)", where, what)
}

// named is the function metadata: what came beside a message, null when there is no such thing.
func (m *Mapping) named(params *bloblang.ParsedParams) (bloblang.Function, error) {
	name, err := params.GetString("name")
	if err != nil {
		return nil, err
	}
	return func() (any, error) {
		if value, ok := m.metadata[name]; ok {
			return value, nil
		}
		return nil, nil
	}, nil
}

var positionPrefix = regexp.MustCompile(`^line \d+ char \d+: `)

// Events maps a record and calls yield for each event: with its JSON, or with why it cannot be taken. It calls it for none
// when the mapping leaves the record out. A fault that it returns is that of the whole record; an error is yield's.
func (m *Mapping) Events(r Record, raw string, value any, yield func(index int, event []byte, fault *Fault) error) (*Fault, error) {
	objects, fault := m.apply(r, value)
	if fault != nil {
		return fault, nil
	}
	for i, object := range objects {
		body, fault := encode(object, func(kind string) string { return r.MessageID(raw, kind, i) })
		if fault == nil {
			fault = check(body)
		}
		if fault != nil && len(objects) > 1 {
			fault.Message = fmt.Sprintf("event %d of the record: %s", i, fault.Message)
		}
		if err := yield(i, body, fault); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// apply gives the events of one record as objects.
func (m *Mapping) apply(r Record, value any) (events []map[string]any, _ *Fault) {
	m.row, m.metadata = r.Number, r.Metadata
	result, err := m.query(value)
	if errors.Is(err, bloblang.ErrRootDeleted) {
		return nil, nil
	}
	if err != nil {
		return nil, failed(MappingFailed, "%s", err)
	}
	var list []any
	switch v := result.(type) {
	case nil:
		return nil, nil
	case []any:
		list = v
	default:
		list = []any{v}
	}
	for i, item := range list {
		object, ok := item.(map[string]any)
		if item == nil {
			continue
		}
		if !ok {
			which := "root"
			if len(list) > 1 {
				which = fmt.Sprintf("element %d of root", i)
			}
			return nil, failed(NotAnEvent, "%s is a %s and must be an event, which is an object, or a list of events", which, kindOf(item))
		}
		events = append(events, object)
	}
	return events, nil
}

// query turns a panic of a method into an error of the record: one odd value must not end the run.
func (m *Mapping) query(value any) (result any, err error) {
	defer func() {
		if caught := recover(); caught != nil {
			err = fmt.Errorf("the mapping panicked: %v", caught)
		}
	}()
	return m.program.Query(value)
}

func kindOf(value any) string {
	switch value.(type) {
	case string, []byte:
		return "text"
	case bool:
		return "boolean"
	case []any:
		return "list"
	default:
		return "number"
	}
}

// encode writes an event as JSON, with the message id that makeID gives when the mapping gave none.
func encode(object map[string]any, makeID func(kind string) string) ([]byte, *Fault) {
	if id, ok := object["messageId"]; !ok || id == nil || id == "" {
		kind, _ := object["type"].(string) // an unknown type is found by whoever checks the event
		object["messageId"] = makeID(kind)
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(plain(object)); err != nil {
		return nil, failed(NotAnEvent, "the event cannot be written as JSON: %v", err)
	}
	return bytes.TrimRight(text.Bytes(), "\n"), nil
}

// plain gives values of Bloblang that JSON does not have the form that its own JSON has: bytes are text.
func plain(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for key := range v {
			v[key] = plain(v[key])
		}
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	case []byte:
		return string(v)
	case time.Time:
		return v.Format(time.RFC3339Nano)
	}
	return value
}

// check applies the engine's own rules: what it would refuse is refused here, where the mapping can be corrected.
func check(body []byte) *Fault {
	var parsed event.Parsed
	parsed.Add(event.Message{Data: stream.Append(nil, stream.Record{Kind: stream.KindEvent, Body: body})})
	if len(parsed.Rejections) > 0 {
		return failed(parsed.Rejections[0].Reason, "%s", parsed.Rejections[0].Message)
	}
	if e := parsed.Events[0]; len(e.Identifiers) == 0 && len(e.Traits) == 0 {
		return failed(event.NoIdentifier,
			"the event says nothing about whose it is; set userId, anonymousId, context.externalIds, or a trait that identifies such as traits.email")
	}
	return nil
}
