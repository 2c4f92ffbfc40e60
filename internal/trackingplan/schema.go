package trackingplan

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Limits of a plan.
const (
	// MaxSchema of one event, in bytes.
	MaxSchema = 64 << 10
	// MaxPlan is the size of a whole plan in bytes. The API server takes objects of about 1.5 MB.
	MaxPlan = 1 << 20
	// MaxExpanded is how many subschemas one schema may have, each counted as often as it is referred to.
	MaxExpanded = 5000
	// maxNested is how deep a schema may be nested.
	maxNested = 128
)

// Invalid says which part of a plan cannot be used, and what to write instead.
type Invalid struct {
	// Field of the Source's spec, such as spec.trackingPlan.events[Order Completed].schema.
	Field string
	// Pointer into the schema, a JSON pointer; empty for the whole.
	Pointer string
	Message string
}

func (e *Invalid) Error() string {
	where := e.Field
	if e.Pointer != "" {
		where += " at " + e.Pointer
	}
	return where + ": " + e.Message
}

// schema is a compiled one.
type schema struct {
	*jsonschema.Schema
	mentions map[string]struct{} // names of fields at its top level
}

const location = "schema:///plan" // an address that nothing can be loaded from

// compileSchema makes a schema of its JSON.
func compileSchema(field string, raw []byte) (*schema, error) {
	invalid := func(pointer, format string, args ...any) error {
		return &Invalid{field, pointer, fmt.Sprintf(format, args...)}
	}
	if len(raw) > MaxSchema {
		return nil, invalid("", "the schema has %d bytes; at most %d are taken: say less, or share parts by $ref", len(raw), MaxSchema)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return nil, invalid("", "it is not JSON: %v", err)
	}
	root, ok := doc.(map[string]any)
	if !ok {
		return nil, invalid("", "a JSON Schema is an object, such as {type: object, required: [total]}")
	}
	delete(root, "$id") // a name that exported plans have; references are inside the schema
	w := walker{root: root, invalid: invalid, costs: map[string]int{}}
	cost, err := w.cost(root, "", 0)
	if err != nil {
		return nil, err
	}
	if cost > MaxExpanded {
		return nil, invalid("", "with its references followed the schema has more than %d subschemas; refer to fewer", MaxExpanded)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	compiler.UseLoader(jsonschema.SchemeURLLoader{}) // nothing is fetched
	if err := compiler.AddResource(location, doc); err != nil {
		return nil, invalid("", "%v", err)
	}
	compiled, err := compiler.Compile(location)
	if err != nil {
		pointer, message := explain(err)
		return nil, invalid(pointer, "%s", message)
	}
	s := &schema{compiled, map[string]struct{}{}}
	if properties, ok := root["properties"].(map[string]any); ok {
		for name := range properties {
			s.mentions[name] = struct{}{}
		}
	}
	if required, ok := root["required"].([]any); ok {
		for _, name := range required {
			if name, ok := name.(string); ok {
				s.mentions[name] = struct{}{}
			}
		}
	}
	return s, nil
}

// explain says what is wrong in a schema, and where.
func explain(err error) (pointer, message string) {
	var broken *jsonschema.SchemaValidationError
	var validation *jsonschema.ValidationError
	if errors.As(err, &broken) && errors.As(broken.Err, &validation) {
		found := flatten(validation, nil)
		if len(found) > 0 {
			return found[0].Field, found[0].Message + "; see the JSON Schema of that keyword"
		}
	}
	text := err.Error()
	if at := strings.Index(text, location+"#"); at >= 0 {
		rest := text[at+len(location)+1:]
		if end := strings.IndexAny(rest, "\"' "); end >= 0 {
			pointer = rest[:end]
		}
	}
	return pointer, strings.ReplaceAll(text, location, "")
}

// walker follows a schema and its references before it is compiled.
type walker struct {
	root    map[string]any
	invalid func(pointer, format string, args ...any) error
	costs   map[string]int // by pointer; -1 while it is being walked
}

// cost is how many subschemas there are at and below a node, references followed.
func (w *walker) cost(node any, pointer string, depth int) (int, error) {
	if depth > maxNested {
		return 0, w.invalid(pointer, "the schema is nested deeper than %d", maxNested)
	}
	switch v := node.(type) {
	case []any:
		total := 0
		for i, item := range v {
			n, err := w.cost(item, pointer+"/"+strconv.Itoa(i), depth+1)
			if err != nil {
				return 0, err
			}
			total = min(total+n, MaxExpanded+1)
		}
		return total, nil
	case map[string]any:
		return w.object(v, pointer, depth)
	default:
		return 0, nil
	}
}

// refused keywords would make references that cannot be followed here.
var refused = []string{"$id", "id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor"}

func (w *walker) object(v map[string]any, pointer string, depth int) (int, error) {
	if known, ok := w.costs[pointer]; ok {
		if known < 0 {
			return 0, w.invalid(pointer, "the schema refers to itself; spell out as many levels as events have")
		}
		return known, nil
	}
	w.costs[pointer] = -1
	for _, keyword := range refused {
		if _, is := v[keyword].(string); is {
			return 0, w.invalid(pointer+"/"+keyword, "%s is not supported; refer to parts as $ref: \"#/$defs/name\"", keyword)
		}
	}
	total := 1
	for key, child := range v {
		if _, list := child.([]any); list && (key == "enum" || key == "examples") {
			continue // values; a property of that name is an object
		}
		n, err := w.cost(child, pointer+"/"+escape(key), depth+1)
		if err != nil {
			return 0, err
		}
		total = min(total+n, MaxExpanded+1)
	}
	if ref, ok := v["$ref"].(string); ok {
		target, ok := w.find(ref)
		if !ok {
			return 0, w.invalid(pointer+"/$ref", "%.100q is not in this schema; references go into the same schema, such as #/$defs/address", ref)
		}
		n, err := w.cost(target, ref[1:], depth+1)
		if err != nil {
			return 0, err
		}
		total = min(total+n, MaxExpanded+1)
	}
	w.costs[pointer] = total
	return total, nil
}

// find gives what a reference points to.
func (w *walker) find(ref string) (any, bool) {
	if ref == "#" {
		return w.root, true
	}
	path, ok := strings.CutPrefix(ref, "#/")
	if !ok || strings.Contains(path, "%") {
		return nil, false
	}
	var node any = w.root
	for token := range strings.SplitSeq(path, "/") {
		token = strings.NewReplacer("~1", "/", "~0", "~").Replace(token)
		switch v := node.(type) {
		case map[string]any:
			if node, ok = v[token]; !ok {
				return nil, false
			}
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(v) {
				return nil, false
			}
			node = v[i]
		default:
			return nil, false
		}
	}
	return node, true
}

func escape(token string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(token) }
