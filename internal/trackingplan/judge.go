package trackingplan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/internal/event"
)

// Reasons of rejections at event.StagePlan.
const (
	Violated  = "PlanViolated"
	Unplanned = "UnplannedEvent"
)

// RuleUnplanned is the rule that an unplanned event breaks.
const RuleUnplanned = "unplanned"

// Verdict on one event.
type Verdict struct {
	Action v1alpha1.ViolationAction
	// Reason and Message for quarantine; empty when the event follows the plan.
	Reason, Message string
}

// Judge looks at an event, tells its violations in e.Violations, and takes out of it what is to be omitted. The same
// event gets the same verdict at any time.
func (p *Plan) Judge(e *event.Event) Verdict {
	schema, planned := p.schemaOf(e)
	if !planned {
		return p.judgeUnplanned(e)
	}
	if schema == nil {
		return Verdict{Action: v1alpha1.ViolationAllow}
	}
	decoded, err := jsonschema.UnmarshalJSON(strings.NewReader(e.Properties))
	properties, ok := decoded.(map[string]any)
	if err != nil || !ok { // the parser has checked it
		return p.found(e, nil, []found{{Violation: event.Violation{Rule: "type", Message: "it must be an object"}}})
	}
	sent := properties
	if added := schema.added(e.Type, properties); len(added) > 0 {
		sent = make(map[string]any, len(properties))
		for name, value := range properties {
			if !slices.Contains(added, name) {
				sent[name] = value
			}
		}
	}
	var invalid *jsonschema.ValidationError
	if err := schema.Validate(sent); err == nil {
		return Verdict{Action: v1alpha1.ViolationAllow}
	} else if !errors.As(err, &invalid) {
		return p.found(e, nil, []found{{Violation: event.Violation{Rule: "schema", Message: "it cannot be checked"}}})
	}
	return p.found(e, properties, order(flatten(invalid, nil)))
}

// added names the fields that the parser has put beside what was sent, unless the schema speaks of them.
func (s *schema) added(kind string, properties map[string]any) []string {
	var names []string
	switch kind {
	case event.Group:
		names = []string{"groupId"}
	case event.Page, event.Screen:
		names = []string{"category", "name"}
	}
	return slices.DeleteFunc(names, func(name string) bool {
		_, mentioned := s.mentions[name]
		_, there := properties[name]
		return mentioned || !there
	})
}

func (p *Plan) judgeUnplanned(e *event.Event) Verdict {
	if p.unplanned == v1alpha1.ViolationAllow {
		return Verdict{Action: v1alpha1.ViolationAllow}
	}
	const message = "the event is not in the tracking plan"
	e.Violations = []event.Violation{{Rule: RuleUnplanned, Message: message, Action: string(p.unplanned)}}
	return Verdict{p.unplanned, Unplanned, message + " of its Source; add it to spec.trackingPlan.events, or send it under a planned name"}
}

func (p *Plan) found(e *event.Event, properties map[string]any, list []found) Verdict {
	e.Violations = make([]event.Violation, len(list))
	for i := range list {
		list[i].Action = string(p.onViolation)
		e.Violations[i] = list[i].Violation
	}
	if p.onViolation == v1alpha1.ViolationOmitField {
		omit(e, properties, list)
	}
	var told []string
	for _, v := range e.Violations[:min(len(e.Violations), 3)] {
		where := v.Field
		if where == "" {
			where = "the event"
		}
		told = append(told, where+": "+v.Message)
	}
	if more := len(e.Violations) - len(told); more > 0 {
		told = append(told, fmt.Sprintf("and %d more", more))
	}
	return Verdict{p.onViolation, Violated, strings.Join(told, "; ") + "; correct the sender or spec.trackingPlan"}
}

// omit takes the fields that break the plan out of properties and, of an identify, out of the traits. A member of a list
// cannot be taken out without moving the others: the list goes. What is missing, and what only the event as a whole
// breaks, cannot be omitted; the event is stored as it is.
func omit(e *event.Event, properties map[string]any, list []found) {
	touched := map[string]struct{}{}
	for _, f := range list {
		if f.omits && len(f.place) > 0 && remove(properties, f.place) {
			touched[f.place[0]] = struct{}{}
		}
	}
	if len(touched) == 0 {
		return
	}
	e.Properties = encode(properties)
	switch {
	case e.Type == event.Identify:
		e.Traits = follow(e.Traits, properties, touched)
	case e.Account != nil:
		account := *e.Account
		account.Traits = follow(account.Traits, properties, touched)
		e.Account = &account
	}
}

// follow brings the traits that were touched to what is left of them in properties.
func follow(traits []event.Trait, properties map[string]any, touched map[string]struct{}) []event.Trait {
	kept := make([]event.Trait, 0, len(traits))
	for _, t := range traits {
		if _, is := touched[t.Name]; is {
			value, left := properties[t.Name]
			if !left {
				continue
			}
			t.Value = encode(value)
		}
		kept = append(kept, t)
	}
	return kept
}

// remove deletes the member of an object at a place, or the nearest one around it.
func remove(in map[string]any, place []string) bool {
	for i, name := range place {
		value, there := in[name]
		if !there {
			return false
		}
		inner, isObject := value.(map[string]any)
		if i == len(place)-1 || !isObject {
			delete(in, name)
			return true
		}
		in = inner
	}
	return false
}

// encode writes a value as JSON; numbers are as they were sent.
func encode(value any) string {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return strconv.Quote("") // not reached: it was JSON before
	}
	return strings.TrimSuffix(b.String(), "\n")
}
