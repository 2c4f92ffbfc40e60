package trackingplan

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/internal/event"
)

const orderSchema = `{"type":"object","required":["id"],"additionalProperties":false,"properties":{"id":{"type":"string"},"total":{"type":"number","minimum":0},
	"items":{"type":"array","items":{"type":"object","properties":{"sku":{"type":"string"}}}},"address":{"$ref":"#/$defs/address"}},
	"$defs":{"address":{"type":"object","properties":{"zip":{"type":"string","pattern":"^[0-9]{5}$"}}}}}`

func planOf(schema string, action v1alpha1.ViolationAction) *v1alpha1.TrackingPlan {
	return &v1alpha1.TrackingPlan{
		Events:      []v1alpha1.PlannedEvent{{Name: "Order", Schema: &apiextensionsv1.JSON{Raw: []byte(schema)}}},
		OnViolation: action, UnplannedEvents: v1alpha1.ViolationDrop,
	}
}

func TestJudge(t *testing.T) {
	plan, err := Compile(planOf(orderSchema, v1alpha1.ViolationOmitField))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ why, properties, broken, left string }{
		{"as planned", `{"id":"1","total":12}`, "", `{"id":"1","total":12}`},
		{"a field of the wrong type", `{"id":"1","total":"a"}`, "/total type", `{"id":"1"}`},
		{"a field that is not planned", `{"id":"1","x/y":1}`, "/x~1y additionalProperties", `{"id":"1"}`},
		{"a field that is missing cannot be omitted", `{"total":1}`, "/id required", `{"total":1}`},
		{"a field of an object of a list: the list goes", `{"id":"1","items":[{"sku":"a"},{"sku":2}]}`, "/items/1/sku type", `{"id":"1"}`},
		{"a field of an object behind a reference", `{"id":"1","address":{"zip":"x","city":"y"}}`, "/address/zip pattern", `{"address":{"city":"y"},"id":"1"}`},
		{"two at once", `{"id":1,"total":-1}`, "/id type, /total minimum", `{}`},
	} {
		e := event.Event{Type: event.Track, Name: "Order", Properties: c.properties}
		plan.Judge(&e)
		var broken []string
		for _, v := range e.Violations {
			broken = append(broken, v.Field+" "+v.Rule)
			if v.Message == "" || v.Action != "OmitField" {
				t.Errorf("%s: %+v", c.why, v)
			}
		}
		if got := strings.Join(broken, ", "); got != c.broken || e.Properties != c.left {
			t.Errorf("%s: %q, left %s; want %q, %s", c.why, got, e.Properties, c.broken, c.left)
		}
	}
	group, err := Compile(&v1alpha1.TrackingPlan{
		GroupTraits: &apiextensionsv1.JSON{Raw: []byte(`{"properties":{"plan":{"enum":["pro"]},"hq":{"properties":{"zip":{"type":"string"}}}}}`)}, OnViolation: v1alpha1.ViolationOmitField,
	})
	if err != nil {
		t.Fatal(err)
	}
	sent := &event.Account{ID: "acme", Traits: []event.Trait{{Name: "plan", Value: `"x"`}, {Name: "hq", Value: `{"city":"y","zip":1}`}, {Name: "seats", Value: "5"}}}
	g := event.Event{Type: event.Group, Properties: `{"groupId":"acme","hq":{"city":"y","zip":1},"plan":"x","seats":5}`, Account: sent}
	group.Judge(&g)
	if got := fmt.Sprint(g.Properties, g.Account.Traits); got != `{"groupId":"acme","hq":{"city":"y"},"seats":5}[{hq {"city":"y"}} {seats 5}]` || len(sent.Traits) != 3 {
		t.Errorf("a group without the fields that break the plan is %s", got)
	}
	e := event.Event{Type: event.Track, Name: "Other", Properties: `{}`}
	if v := plan.Judge(&e); v.Action != v1alpha1.ViolationDrop || v.Reason != Unplanned {
		t.Errorf("an unplanned event: %+v", v)
	}
}

func TestCompileRefuses(t *testing.T) {
	doubling := `{"$defs":{"d0":{}`
	for n := range 20 {
		ref := `{"$ref":"#/$defs/d` + string(rune('a'+n-1)) + `"}`
		if n == 0 {
			ref = `{"$ref":"#/$defs/d0"}`
		}
		doubling += `,"d` + string(rune('a'+n)) + `":{"allOf":[` + ref + `,` + ref + `]}`
	}
	doubling += `},"$ref":"#/$defs/dt"}`
	for _, c := range []struct{ why, schema, pointer, says string }{
		{"not an object", `[]`, "", "is an object"},
		{"an unknown type", `{"properties":{"a":{"type":"text"}}}`, "/properties/a/type", "none of"},
		{"a pattern that RE2 does not have", `{"properties":{"a":{"pattern":"(?=x)"}}}`, "/properties/a/pattern", "regex"},
		{"a remote reference", `{"$ref":"https://example.com/s.json"}`, "/$ref", "same schema"},
		{"a file", `{"properties":{"a":{"$ref":"file:///etc/passwd"}}}`, "/properties/a/$ref", "same schema"},
		{"a reference to nothing", `{"$ref":"#/$defs/x"}`, "/$ref", "same schema"},
		{"a reference to itself", `{"properties":{"a":{"$ref":"#"}}}`, "", "refers to itself"},
		{"references that double", doubling, "", "subschemas"},
		{"too many bytes", `{"title":"` + strings.Repeat("x", MaxSchema) + `"}`, "", "bytes"},
	} {
		_, err := Compile(planOf(c.schema, ""))
		var invalid *Invalid
		if !errors.As(err, &invalid) {
			t.Errorf("%s: %v", c.why, err)
			continue
		}
		if invalid.Field != "spec.trackingPlan.events[Order].schema" || invalid.Pointer != c.pointer || !strings.Contains(invalid.Message, c.says) {
			t.Errorf("%s: %v, want %q in it and the pointer %q", c.why, err, c.says, c.pointer)
		}
	}
}
