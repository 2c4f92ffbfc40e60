package source

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/warpstreamlabs/bento/public/bloblang"
	_ "github.com/warpstreamlabs/bento/public/components/pure" // its methods: times, encodings, objects, strings

	"kohort.dev/kohort/internal/event"
	"kohort.dev/kohort/internal/run"
	"kohort.dev/kohort/internal/stream"
)

// mapping makes events of records, one after the other.
type mapping struct {
	program *bloblang.Executor
	row     int64 // number of the record that is being mapped
	// metadata of the message that is being mapped; nil for a record of a file or a query.
	metadata map[string]string
}

// compileMapping parses a Bloblang mapping (https://warpstreamlabs.github.io/bento/docs/guides/bloblang/about). It sees
// the record, its number as row(), what came beside it as metadata("name"), and nothing else: what reads files, the environment, other mappings or the network is
// not there.
func compileMapping(text string) (*mapping, error) {
	m := &mapping{}
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
	return nil, run.Refuse(reasonMappingInvalid,
		"spec.mapping does not parse%s: %s; correct it (Bloblang: https://warpstreamlabs.github.io/bento/docs/guides/bloblang/about)", where, what)
}

// named is the function metadata: what came beside a message, null when there is no such thing.
func (m *mapping) named(params *bloblang.ParsedParams) (bloblang.Function, error) {
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

// apply gives the events of one record as objects, none when the mapping leaves the record out. row is the record's number
// in its file or result, from 1: what has no id of its own can be named by where it stands.
func (m *mapping) apply(value any, row int64) (events []map[string]any, _ *fault) {
	m.row = row
	failed := func(reason, message string) *fault {
		return &fault{stage: stageMapping, reason: reason, message: message}
	}
	result, err := m.query(value)
	if errors.Is(err, bloblang.ErrRootDeleted) {
		return nil, nil
	}
	if err != nil {
		return nil, failed(faultMapping, err.Error())
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
			return nil, failed(faultNoEvent, fmt.Sprintf("%s is a %s and must be an event, which is an object, or a list of events", which, kindOf(item)))
		}
		events = append(events, object)
	}
	return events, nil
}

// query turns a panic of a method into an error of the record: one odd value must not end the run.
func (m *mapping) query(value any) (result any, err error) {
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
func encode(object map[string]any, makeID func(kind string) string) ([]byte, *fault) {
	if id, ok := object["messageId"]; !ok || id == nil || id == "" {
		kind, _ := object["type"].(string) // an unknown type is found by whoever checks the event
		object["messageId"] = makeID(kind)
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(plain(object)); err != nil {
		return nil, &fault{stage: stageMapping, reason: faultNoEvent, message: "the event cannot be written as JSON: " + err.Error()}
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

// checkEvent applies the engine's own rules, so that a run's report says what the engine would refuse. It gives the
// rejection for quarantine, or nil.
func checkEvent(body []byte, source, party string, received time.Time) *event.Rejection {
	var parsed event.Parsed
	parsed.Add(event.Message{Data: stream.Append(nil, stream.Record{Kind: stream.KindEvent, Received: received, Source: source, Party: party, Body: body})})
	if len(parsed.Rejections) > 0 {
		return &parsed.Rejections[0]
	}
	e := parsed.Events[0]
	if len(e.Identifiers) == 0 && len(e.Traits) == 0 {
		rejection := e.Reject(event.StageParse, event.NoIdentifier,
			"the event says nothing about whose it is; set userId, anonymousId, context.externalIds, or a trait that identifies such as traits.email")
		return &rejection
	}
	return nil
}

// redact takes out of a message what may be a customer's: texts in quotes, addresses and longer numbers. What stays says
// where and what, for a status that anybody may read; quarantine keeps the whole message.
func redact(message string) string {
	message = quoted.ReplaceAllString(message, `"…"`)
	message = atSign.ReplaceAllString(message, "…")
	message = digits.ReplaceAllString(message, "…")
	message = strings.Join(strings.Fields(message), " ")
	const most = 200
	if len(message) > most {
		message = strings.ToValidUTF8(message[:most], "") + "…"
	}
	return message
}

var (
	quoted = regexp.MustCompile(`"(?:[^"\\]|\\.)*"?`)
	atSign = regexp.MustCompile(`\S*@\S*`)
	digits = regexp.MustCompile(`\d[\d.,:-]{3,}`)
)
