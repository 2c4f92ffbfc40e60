package event_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"kohort.dev/kohort/internal/event"
	"kohort.dev/kohort/internal/stream"
)

var received = time.Date(2026, 11, 23, 10, 0, 0, 123_000_000, time.UTC)

func parse(kind stream.Kind, body string) event.Parsed {
	var p event.Parsed
	p.Add(event.Message{Seq: 7, Subject: "events.web", Stored: received, Data: stream.Append(nil, stream.Record{
		Kind: kind, Received: received, Source: "web", Party: "First", Body: []byte(body),
	})})
	return p
}

func TestEvents(t *testing.T) {
	base := event.Event{Occurred: received, Received: received, Source: "web", Party: "First", Seq: 7, MessageID: "m", Properties: "{}", Context: "{}"}
	with := func(change func(*event.Event)) event.Event { e := base; change(&e); return e }
	for _, c := range []struct {
		why  string
		kind stream.Kind
		body string
		want event.Event
	}{
		{"a track event keeps its properties byte by byte", stream.KindEvent,
			`{"type":"track","event":" Bought ","userId":"u","messageId":"m","properties":{"a": 1.50,"é":"\u00e9"}}`,
			with(func(e *event.Event) {
				e.Type, e.Name, e.UserID, e.Properties = "track", "Bought", "u", `{"a": 1.50,"é":"\u00e9"}`
				e.Identifiers = []event.Identifier{{Type: "userId", Value: "u"}}
			})},
		{"the endpoint gives the type, whatever the body says", stream.KindIdentify,
			`{"type":"track","userId":"u","messageId":"m","traits":{"email":"A@b","plan":null},"context":{"traits":{"plan":"x","age":3}}}`,
			with(func(e *event.Event) {
				e.Type, e.Name, e.UserID = "identify", "Identify", "u"
				e.Properties, e.Context = `{"email":"A@b","plan":null}`, `{"traits":{"plan":"x","age":3}}`
				e.Identifiers = []event.Identifier{{Type: "userId", Value: "u"}}
				// The event's own traits come last, so they count.
				e.Traits = []event.Trait{{"plan", `"x"`}, {"age", "3"}, {"email", `"A@b"`}, {"plan", "null"}}
			})},
		{"a page's name and category are properties, but do not overwrite one", stream.KindPage,
			`{"anonymousId":"a","messageId":"m","name":"Home","category":"x","properties":{"name":"Mine"}}`,
			with(func(e *event.Event) {
				e.Type, e.Name, e.AnonymousID, e.Properties = "page", "Page Viewed", "a", `{"category":"x","name":"Mine"}`
				e.Identifiers = []event.Identifier{{Type: "anonymousId", Value: "a"}}
			})},
		{"a screen without properties", stream.KindScreen, `{"anonymousId":"a","messageId":"m","name":"Home"}`,
			with(func(e *event.Event) {
				e.Type, e.Name, e.AnonymousID, e.Properties = "screen", "Screen Viewed", "a", `{"name":"Home"}`
				e.Identifiers = []event.Identifier{{Type: "anonymousId", Value: "a"}}
			})},
		{"a group's traits are the group's", stream.KindGroup, `{"userId":"u","messageId":"m","groupId":12,"traits":{"name":"Acme"}}`,
			with(func(e *event.Event) {
				e.Type, e.Name, e.UserID, e.Properties = "group", "Group", "u", `{"groupId":"12","name":"Acme"}`
				e.Account = &event.Account{ID: "12", Traits: []event.Trait{{Name: "name", Value: `"Acme"`}}}
				e.Identifiers = []event.Identifier{{Type: "userId", Value: "u"}}
			})},
		{"an alias's previousId is a userId or else an anonymousId", stream.KindAlias, `{"userId":"u","previousId":"p","messageId":"m"}`,
			with(func(e *event.Event) {
				e.Type, e.Name, e.UserID, e.Properties = "alias", "Alias", "u", `{"previousId":"p"}`
				e.Identifiers = []event.Identifier{{Type: "userId", Value: "u"}, {Type: "userId", Value: "p", Else: "anonymousId"}}
			})},
		{"external ids of people count, of accounts not; numbers are taken as written", stream.KindTrack,
			`{"event":"x","userId":12345678901234567890,"messageId":"m","context":{"externalIds":[{"type":"card","id":9,"collection":"users"},{"type":"org","id":"o","collection":"accounts"},{"id":"?"},7]}}`,
			with(func(e *event.Event) {
				e.Type, e.Name, e.UserID = "track", "x", "12345678901234567890"
				e.Context = `{"externalIds":[{"type":"card","id":9,"collection":"users"},{"type":"org","id":"o","collection":"accounts"},{"id":"?"},7]}`
				e.Identifiers = []event.Identifier{{Type: "userId", Value: "12345678901234567890"}, {Type: "card", Value: "9"}}
			})},
		{"nulls are absent; a missing message id is made of the place in the stream", stream.KindEvent,
			`{"type":"track","event":"x","userId":"u","anonymousId":null,"messageId":null,"properties":null,"context":null,"timestamp":null}`,
			with(func(e *event.Event) {
				e.Type, e.Name, e.UserID, e.MessageID, e.Derived = "track", "x", "u", "kohort-7-0-0", true
				e.Identifiers = []event.Identifier{{Type: "userId", Value: "u"}}
			})},
	} {
		got := parse(c.kind, c.body)
		if len(got.Rejections) > 0 || len(got.Events) != 1 {
			t.Errorf("%s: %d events, rejections %+v", c.why, len(got.Events), got.Rejections)
			continue
		}
		if diff := cmp.Diff(c.want, got.Events[0], cmpopts.EquateEmpty(), cmpopts.IgnoreFields(event.Event{}, "Original")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.why, diff)
		}
	}
}

func TestRejections(t *testing.T) {
	long := strings.Repeat("x", event.MaxSize)
	for _, c := range []struct {
		why           string
		body          string
		reason, names string
	}{
		{"no type", `{"event":"x","userId":"u"}`, event.MissingField, "type"},
		{"a type that nobody knows", `{"type":"buy","userId":"u"}`, event.UnknownType, "buy"},
		{"track without a name", `{"type":"track","userId":"u"}`, event.MissingField, "event"},
		{"group without an id", `{"type":"group","userId":"u"}`, event.MissingField, "groupId"},
		{"alias without its other id", `{"type":"alias","userId":"u"}`, event.MissingField, "previousId"},
		{"an object for an id", `{"type":"track","event":"x","userId":{}}`, event.InvalidField, "userId"},
		{"text for properties", `{"type":"track","event":"x","userId":"u","properties":"p"}`, event.InvalidField, "properties"},
		{"a time that is none", `{"type":"track","event":"x","userId":"u","timestamp":"yesterday"}`, event.InvalidTimestamp, "yesterday"},
		{"a time outside of the store's range", `{"type":"track","event":"x","userId":"u","timestamp":"0001-01-01T00:00:00Z"}`, event.InvalidTimestamp, "timestamp"},
		{"an event that is too long", `{"type":"track","event":"x","userId":"u","properties":{"a":"` + long + `"}}`, event.TooLarge, "32768"},
		{"an id that is too long", `{"type":"track","event":"x","userId":"` + long[:501] + `"}`, event.TooLarge, "userId"},
		{"a name that is too long", `{"type":"track","event":"` + long[:257] + `","userId":"u"}`, event.TooLarge, "event"},
		{"a message id that is too long", `{"type":"track","event":"x","userId":"u","messageId":"` + long[:101] + `"}`, event.TooLarge, "messageId"},
		{"nesting that is too deep", `{"type":"track","event":"x","userId":"u","properties":` + strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 101), event.TooLarge, "nested"},
		{"too many traits", `{"type":"identify","userId":"u","traits":{` + strings.Repeat(`"a":1,`, 300) + `"a":1}}`, event.TooLarge, "301 traits"},
		{"broken JSON", `{"type":"track",`, event.InvalidJSON, "JSON"},
		{"a list", `[1]`, event.InvalidJSON, "JSON"},
		{"nothing", ``, event.InvalidJSON, "JSON"},
	} {
		got := parse(stream.KindEvent, c.body)
		if len(got.Events) != 0 || len(got.Rejections) != 1 {
			t.Errorf("%s: %d events, %d rejections", c.why, len(got.Events), len(got.Rejections))
			continue
		}
		r := got.Rejections[0]
		if r.Reason != c.reason || !strings.Contains(r.Message, c.names) {
			t.Errorf("%s: rejected for %s (%s), want %s naming %s", c.why, r.Reason, r.Message, c.reason, c.names)
		}
		if r.Original != c.body || r.Source != "web" || r.Party != "First" || r.Seq != 7 || !r.Received.Equal(received) {
			t.Errorf("%s: the rejection lost something: %+v", c.why, r)
		}
	}
}

// Brackets inside of strings are not nesting.
func TestDepthIgnoresStrings(t *testing.T) {
	body := `{"type":"track","event":"x","userId":"u","properties":{"a":"` + strings.Repeat(`[{\"`, 200) + `"}}`
	if got := parse(stream.KindEvent, body); len(got.Events) != 1 {
		t.Errorf("rejected: %+v", got.Rejections)
	}
}

func TestBatch(t *testing.T) {
	got := parse(stream.KindBatch, ` {"batch":[
		{"type":"track","event":"one","userId":"u","context":{"library":{"name":"mine"}},"timestamp":"2026-11-23T10:05:00.000Z"},
		{"type":"nonsense"}, 5, "x", null,
		{"type":"track","event":"two","anonymousId":"a","messageId":"given"}],
		"context":{"library":{"name":"batch"},"locale":"de"},"sentAt":"2026-11-23T10:05:05.000Z","writeKey":"k"} `)
	if len(got.Events) != 2 || len(got.Rejections) != 4 {
		t.Fatalf("%d events, %d rejections; one bad item must not harm another", len(got.Events), len(got.Rejections))
	}
	one, two := got.Events[0], got.Events[1]
	if want := `{"locale":"de","library":{"name":"mine"}}`; one.Context != want {
		t.Errorf("context is %s, want %s: the batch's fields only where the item has none", one.Context, want)
	}
	if want := `{"library":{"name":"batch"},"locale":"de"}`; two.Context != want {
		t.Errorf("context is %s, want the batch's, %s", two.Context, want)
	}
	// The device is 5 minutes fast: five seconds before sending is five seconds before receiving.
	if want := received.Add(-5 * time.Second); !one.Occurred.Equal(want) {
		t.Errorf("occurred %s, want %s", one.Occurred, want)
	}
	if one.MessageID != "kohort-7-0-0" || two.MessageID != "given" || two.Derived {
		t.Errorf("message ids are %q and %q", one.MessageID, two.MessageID)
	}
	for _, body := range []string{`{}`, `{"batch":{}}`, `x`, `[]`, ``} {
		if got := parse(stream.KindBatch, body); len(got.Rejections) != 1 || got.Rejections[0].Original != body {
			t.Errorf("a batch of %q gave %+v, want one rejection with the whole body", body, got.Rejections)
		}
	}
	cut := parse(stream.KindBatch, `{"batch":[{"type":"track","event":"x","userId":"u"},{"type":"track","ev`)
	if len(cut.Events) != 1 || len(cut.Rejections) != 1 {
		t.Errorf("a body that was cut off gave %d events and %d rejections, want what is whole and the rest", len(cut.Events), len(cut.Rejections))
	}
}

// What is small on the wire must not become large in memory.
func TestBatchDoesNotSwell(t *testing.T) {
	const n = 100_000
	many := `{"batch":[` + strings.Repeat(`5,`, n) + `{"type":"track","event":"x","userId":"u"}]}`
	got := parse(stream.KindBatch, many)
	if len(got.Events) != 1 || len(got.Rejections) != event.MaxRejections+1 {
		t.Fatalf("%d events, %d rejections; want 1 and %d", len(got.Events), len(got.Rejections), event.MaxRejections+1)
	}
	if rest := got.Rejections[event.MaxRejections].Original; strings.Count(rest, "5") != n-event.MaxRejections || !json.Valid([]byte(rest)) {
		t.Errorf("the last rejection has %d of %d others", strings.Count(rest, "5"), n-event.MaxRejections)
	}
	item := `{"type":"track","event":"x","userId":"u","context":{"a":1}},`
	wide := `{"batch":[` + strings.TrimSuffix(strings.Repeat(item, 20_000), ",") + `],"context":{"b":"` + strings.Repeat("x", 30_000) + `"}}`
	if got := parse(stream.KindBatch, wide); len(got.Events) != 0 || len(got.Rejections) != 1 || got.Rejections[0].Original != wide {
		t.Errorf("600 MB of context from 1.2 MB: %d events, %d rejections; want the whole batch refused", len(got.Events), len(got.Rejections))
	}
	var keys strings.Builder
	for k := range 3000 {
		fmt.Fprintf(&keys, `"k%d":1,`, k)
	}
	began := time.Now()
	body := `{"batch":[` + strings.TrimSuffix(strings.Repeat(item, 1000), ",") + `],"context":{` + keys.String() + `"a":2,"z\"":3}}`
	got = parse(stream.KindBatch, strings.Replace(body, `"batch":[`, `"pad":"`+strings.Repeat("x", 2_000_000)+`","batch":[`, 1))
	if len(got.Events) != 1000 || !strings.HasSuffix(got.Events[9].Context, `"z\"":3,"a":1}`) {
		t.Fatalf("%d events, %d rejections; context %.60s", len(got.Events), len(got.Rejections), got.Events[9].Context)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("merging a context of 3,000 fields into 1,000 events took %s", took)
	}
	for _, body := range []string{strings.Repeat("[", 1<<20), `{"batch":[` + strings.Repeat(`{"a":`, 1<<20), `{"batch":` + strings.Repeat("[", 1<<20)} {
		for kind := stream.KindBatch; kind <= stream.KindQuarantine; kind++ {
			if got := parse(kind, strings.Repeat(body, 7)); len(got.Rejections) == 0 {
				t.Errorf("%.20s… is neither an event nor a rejection", body)
			}
		}
	}
}

func TestClock(t *testing.T) {
	at := func(s string) time.Time {
		v, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, c := range []struct{ why, timestamp, sentAt, want string }{
		{"a clock five minutes fast", `"2026-11-23T10:05:00Z"`, "2026-11-23T10:05:05Z", "2026-11-23T09:59:55.123Z"},
		{"a clock a year slow", `"2025-11-23T10:00:00Z"`, "2025-11-23T10:00:01Z", "2026-11-23T09:59:59.123Z"},
		{"no sentAt: the time given stands", `"2026-11-20T00:00:00.5+01:00"`, "", "2026-11-19T23:00:00.5Z"},
		{"an event that was queued for a day", `"2026-11-22T10:00:00Z"`, "2026-11-23T10:00:00Z", "2026-11-22T10:00:00.123Z"},
		{"the future is cut to the arrival", `"2030-01-01T00:00:00Z"`, "", "2026-11-23T10:00:00.123Z"},
		{"a sentAt before the event, likewise", `"2026-11-23T10:00:00Z"`, "2026-11-23T09:00:00Z", "2026-11-23T10:00:00.123Z"},
		{"a sentAt that is no time is left out", `"2026-11-23T09:00:00Z"`, "soon", "2026-11-23T09:00:00Z"},
		{"a time without a zone is UTC", `"2026-11-23 09:00:00"`, "", "2026-11-23T09:00:00Z"},
		{"a date", `"1995-07-21"`, "", "1995-07-21T00:00:00Z"},
		{"milliseconds since 1970", `1763892000123`, "", "2025-11-23T10:00:00.123Z"},
	} {
		got := parse(stream.KindEvent, `{"type":"track","event":"x","userId":"u","timestamp":`+c.timestamp+`,"sentAt":"`+c.sentAt+`"}`)
		if len(got.Events) != 1 {
			t.Errorf("%s: %+v", c.why, got.Rejections)
			continue
		}
		if want := at(c.want); !got.Events[0].Occurred.Equal(want) {
			t.Errorf("%s: occurred %s, want %s", c.why, got.Events[0].Occurred, want)
		}
	}
}

// What a later stage refuses is kept as it would have been sent alone, and comes back as the same event.
func TestRedrive(t *testing.T) {
	batch := parse(stream.KindBatch, `{"sentAt":"2026-11-23T12:00:00Z","context":{"app":"shop"},"batch":[
		{"type":"track","event":"x","userId":"u","timestamp":"2026-11-23T11:59:00Z","context":{"page":1}},
		{"type":"track","event":"x","userId":"u","messageId":"own","sentAt":"2026-11-23T11:00:00Z","timestamp":"2026-11-23T11:00:00Z"}]}`)
	for i, sent := range batch.Events {
		refused := sent.Reject(event.StageIdentity, event.NoIdentifier, "m")
		body, err := json.Marshal(map[string]string{"id": strings.Repeat("0a", 16), "original": refused.Original})
		if err != nil {
			t.Fatal(err)
		}
		got := parse(stream.KindRedrive, string(body))
		if len(got.Events) != 1 {
			t.Fatalf("event %d: %+v", i, got)
		}
		again := got.Events[0]
		if again.Redriven == nil || again.Redriven.ID[15] != 10 || again.Redriven.Seq != 7 || !again.Redriven.Received.Equal(received) {
			t.Errorf("event %d: the row of quarantine is %+v", i, again.Redriven)
		}
		want := sent
		want.Derived, want.SentAt = false, ""
		if diff := cmp.Diff(want, again, cmpopts.IgnoreFields(event.Event{}, "Original", "Redriven")); diff != "" {
			t.Errorf("event %d (-sent +redriven):\n%s", i, diff)
		}
	}
	list := parse(stream.KindRedrive, `{"id":"`+strings.Repeat("00", 16)+`","original":"[{\"type\":\"track\",\"event\":\"x\",\"userId\":\"u\"},5]"}`)
	if len(list.Events) != 1 || len(list.Rejections) != 1 || list.Rejections[0].Redriven != list.Events[0].Redriven {
		t.Errorf("a list: %+v", list)
	}
	for _, body := range []string{``, `{"id":"xy","original":"{}"}`, `{"original":"{}"}`, `[[[`, strings.Repeat("[", 1_000_000)} {
		if got := parse(stream.KindRedrive, body); len(got.Events) != 0 || len(got.Rejections) != 1 || got.Rejections[0].Original != body {
			t.Errorf("%.20s gave %d events and %d rejections", body, len(got.Events), len(got.Rejections))
		}
	}
}

func TestQuarantineAndMalformed(t *testing.T) {
	got := parse(stream.KindQuarantine, `{"stage":"mapping","reason":"MappingFailed","message":"no field","original":"a,b,c"}`)
	want := []event.Rejection{{Stage: "mapping", Reason: "MappingFailed", Message: "no field", Original: "a,b,c", Source: "web", Party: "First", Received: received, Seq: 7}}
	if diff := cmp.Diff(want, got.Rejections); diff != "" {
		t.Errorf("a puller's rejection (-want +got):\n%s", diff)
	}
	good := stream.Append(nil, stream.Record{Kind: stream.KindEvent, Received: received, Source: "web", Body: []byte(`{"type":"track","event":"x","userId":"u"}`)})
	for _, data := range [][]byte{nil, {9, 9}, append(good, 1, 2, 3), []byte("hello")} {
		var p event.Parsed
		p.Add(event.Message{Seq: 1, Subject: "events.app", Stored: received, Data: data})
		if len(p.Rejections) != 1 || p.Rejections[0].Reason != event.MalformedMessage || p.Rejections[0].Original != string(data) || p.Rejections[0].Source != "app" {
			t.Errorf("message %q gave %+v", data, p.Rejections)
		}
	}
}

// Whatever arrives: no panic, nothing lost without a trace, and what is passed on is within the limits.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		`{"batch":[{"type":"track","event":"x","userId":"u","properties":{"a":[1,{"b":null}]}}],"sentAt":"2026-11-23T10:00:00Z","context":{"a.b":1}}`,
		`{"type":"identify","userId":1e999,"traits":{"":1,"email":"a@b"},"timestamp":-1e400}`,
		`{"batch":[{`, `{"batch":[[[[`, `{"type":"alias","previousId":"\ud800","userId":"\u0000"}`,
		`{"stage":1,"original":{"x":1}}`, "\xff\xfe{}", `{"type":"page","name":"a\"b","properties":{ }}`,
		`{"type":"track","event":"x","context":{"externalIds":[{"type":"a","id":true}],"traits":[]},"userId":"u"}`,
	} {
		for kind := range uint8(11) {
			f.Add(kind, []byte(seed))
		}
	}
	f.Fuzz(func(t *testing.T, kind uint8, body []byte) {
		var p event.Parsed
		data := stream.Append(nil, stream.Record{Kind: stream.Kind(kind), Received: received, Source: "s", IP: "::1", Body: body})
		p.Add(event.Message{Seq: 1, Data: data})
		p.Add(event.Message{Seq: 2, Data: body})
		if len(p.Events)+len(p.Rejections) == 0 && len(body) > 1 && stream.Kind(kind) != stream.KindBatch {
			t.Errorf("%q is neither an event nor a rejection", body)
		}
		for _, e := range p.Events {
			if e.Name == "" || e.MessageID == "" || len(e.MessageID) > event.MaxMessageID || len(e.Traits) > event.MaxTraits {
				t.Errorf("out of limits: %+v", e)
			}
			if e.Occurred.After(e.Received) || e.Occurred.Year() < 1900 {
				t.Errorf("occurred %s, received %s", e.Occurred, e.Received)
			}
			for _, object := range []string{e.Properties, e.Context, e.Original} {
				if !validObject(object) {
					t.Errorf("%q is not a JSON object", object)
				}
			}
		}
	})
}
