package trackingplan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"kohort.dev/kohort/internal/event"
)

const (
	// maxViolations of one event that are told apart.
	maxViolations = 20
	// maxField and maxMessage of a violation in bytes.
	maxField   = 256
	maxMessage = 256
)

// found is one violation and the place of the field that breaks the rule.
type found struct {
	event.Violation
	place []string
	omits bool // the field is there, and the event is right without it
}

// flatten gives the violations of an event, or of a schema that breaks the rules of schemas. No message has a value in
// it: it is for statuses, which anybody may read.
func flatten(e *jsonschema.ValidationError, out []found) []found {
	if len(out) >= maxViolations {
		return out
	}
	add := func(name string, omits bool, format string, args ...any) {
		place := slices.Clone(e.InstanceLocation)
		if name != "" {
			place = append(place, name)
		}
		rule := "schema"
		if path := e.ErrorKind.KeywordPath(); len(path) > 0 {
			rule = path[0]
		}
		out = append(out, found{event.Violation{
			Field: cut(pointer(place), maxField), Rule: rule, Message: cut(fmt.Sprintf(format, args...), maxMessage),
		}, place, omits})
	}
	switch k := e.ErrorKind.(type) {
	case *kind.Required:
		for _, name := range k.Missing {
			add(name, false, "it is missing")
		}
	case *kind.DependentRequired:
		for _, name := range k.Missing {
			add(name, false, "it is missing beside %s", k.Prop)
		}
	case *kind.Dependency:
		for _, name := range k.Missing {
			add(name, false, "it is missing beside %s", k.Prop)
		}
	case *kind.AdditionalProperties:
		for _, name := range slices.Sorted(slices.Values(k.Properties)) {
			add(name, true, "it is not in the plan")
		}
	case *kind.FalseSchema:
		add("", true, "it must not be there")
	case *kind.Type:
		add("", true, "it must be %s and is %s", strings.Join(k.Want, " or "), k.Got)
	case *kind.Enum:
		add("", true, "it is none of the %d values that are planned", len(k.Want))
	case *kind.Const:
		add("", true, "it is not the value that is planned")
	case *kind.Format:
		add("", true, "it is not written as a %s", k.Want)
	case *kind.Pattern:
		add("", true, "it does not match the pattern %s", k.Want)
	case *kind.Not:
		add("", true, "it is what the plan excludes")
	case *kind.AnyOf, *kind.OneOf:
		add("", true, "it is none of the forms that are planned")
	case *kind.Schema, *kind.Group, *kind.AllOf, *kind.Reference:
		for _, cause := range e.Causes {
			out = flatten(cause, out)
		}
	default:
		if len(e.Causes) > 0 {
			for _, cause := range e.Causes {
				out = flatten(cause, out)
			}
			break
		}
		rule := strings.Join(e.ErrorKind.KeywordPath(), "/")
		add("", true, "it breaks the rule %s of the plan", rule)
	}
	return out[:min(len(out), maxViolations)]
}

// order makes the violations of one event come in the same order whenever it is judged: the validator walks maps.
func order(list []found) []found {
	slices.SortFunc(list, func(a, b found) int {
		if c := strings.Compare(a.Field, b.Field); c != 0 {
			return c
		}
		if c := strings.Compare(a.Rule, b.Rule); c != 0 {
			return c
		}
		return strings.Compare(a.Message, b.Message)
	})
	return list
}

func pointer(place []string) string {
	var b strings.Builder
	for _, token := range place {
		b.WriteByte('/')
		b.WriteString(escape(token))
	}
	return b.String()
}

func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most-len("…")], "") + "…"
}
