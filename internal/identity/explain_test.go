package identity

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kohort.dev/kohort/internal/event"
	"kohort.dev/kohort/internal/warehouse"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

func TestExplain(t *testing.T) {
	conn := warehousetest.Open(t)
	u, anon, mail := "userId", "anonymousId", "email"
	events := []event.Event{
		seen(0, id(anon, "a1")), seen(1, id(u, "u"), id(anon, "a1")), seen(2, id(u, "u"), id(mail, "x@x.org")), seen(3, id(mail, "x@x.org"), id(anon, "a2")),
		seen(4, id(u, "v"), id(mail, "x@x.org")), // is left out: x@x.org is u's
	}
	for i := range events {
		events[i].MessageID, events[i].Source = fmt.Sprintf("m%d", i), "web"
	}
	store, err := NewWarehouse(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewResolver(defaults(), store)
	if err != nil {
		t.Fatal(err)
	}
	c, err := r.Resolve(t.Context(), Batch{First: 1, Last: 9, Next: 1, Events: events})
	if err != nil {
		t.Fatal(err)
	}
	insert(t, conn, c)
	for _, e := range c.Edges {
		of := events[e.Event]
		one := func(name, value string) warehouse.Column {
			return warehouse.Column{Name: name, Type: "String", Values: []string{value}}
		}
		when := func(name string) warehouse.Column {
			return warehouse.Column{Name: name, Type: "DateTime64(3, 'UTC')", Values: []time.Time{of.Occurred}}
		}
		if err := warehouse.Insert(t.Context(), conn, "identity_edges", "", one("a_type", e.A.Type), one("a_value", e.A.Value), one("b_type", e.B.Type),
			one("b_value", e.B.Value), one("message_id", of.MessageID), one("source", of.Source), when("occurred"), when("received")); err != nil {
			t.Fatal(err)
		}
	}
	explain := func(a, b Identifier) string {
		links, err := Explain(t.Context(), conn, a, b)
		text := ""
		for _, l := range links {
			text += fmt.Sprintf("%s-%s(%s %s %d) ", l.From.Value, l.To.Value, l.MessageID, l.Source, l.Occurred.Unix()-1_700_000_000)
		}
		for name, kind := range map[string]error{"unknown": ErrUnknown, "not one": ErrNotOne, "no record": ErrNoRecord} {
			if errors.Is(err, kind) {
				return name
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	for _, want := range []struct {
		a, b Identifier
		text string
	}{
		{Identifier{anon, "a1"}, Identifier{anon, "a2"}, "a1-u(m1 web 1) u-x@x.org(m2 web 2) x@x.org-a2(m3 web 3) "},
		{Identifier{mail, "x@x.org"}, Identifier{u, "u"}, "x@x.org-u(m2 web 2) "},
		{Identifier{u, "u"}, Identifier{u, "u"}, ""},
		{Identifier{u, "u"}, Identifier{u, "v"}, "not one"},
		{Identifier{u, "u"}, Identifier{u, "it's nobody"}, "unknown"},
		{Identifier{u, "nobody"}, Identifier{u, "u"}, "unknown"},
	} {
		if diff := cmp.Diff(want.text, explain(want.a, want.b)); diff != "" {
			t.Errorf("%v and %v (-want +got):\n%s", want.a, want.b, diff)
		}
	}
	if err := conn.Exec(t.Context(), "TRUNCATE TABLE identity_edges"); err != nil {
		t.Fatal(err)
	}
	if got := explain(Identifier{u, "u"}, Identifier{anon, "a1"}); got != "no record" {
		t.Errorf("without edges the explanation is %q", got)
	}
}
