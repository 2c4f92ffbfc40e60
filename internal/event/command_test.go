package event

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kohort.dev/kohort/internal/stream"
)

func TestCommand(t *testing.T) {
	at := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	record := func(kind stream.Kind, body string) []byte {
		return stream.Append(nil, stream.Record{Kind: kind, Received: at, Body: []byte(body)})
	}
	const body = `{"type":"email","value":"a@x.org","fromType":"userId","fromValue":"u"}`
	good := record(stream.KindUnmerge, body)
	for _, c := range []struct {
		why, subject string
		data         []byte
		want         *Unmerge
	}{
		{"a request", stream.IdentitySubject, good, &Unmerge{"email", "a@x.org", "userId", "u", at}},
		{"two at once", stream.IdentitySubject, append(good, good[1:]...), nil},
		{"an event among requests", stream.IdentitySubject, record(stream.KindTrack, `{"event":"x","userId":"u"}`), nil},
		{"no JSON", stream.IdentitySubject, record(stream.KindUnmerge, `{"type"`), nil},
		{"nothing", stream.IdentitySubject, good[:1], nil},
		{"cut off", stream.IdentitySubject, good[:5], nil},
		{"a request among events", stream.Subject("web"), good, nil},
	} {
		var p Parsed
		p.Add(Message{Seq: 7, Subject: c.subject, Stored: at, Data: c.data})
		if diff := cmp.Diff(c.want, p.Unmerge); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.why, diff)
		}
		if len(p.Events) > 0 || (len(p.Rejections) == 1) != (c.want == nil) {
			t.Errorf("%s: %d events and rejections %v", c.why, len(p.Events), p.Rejections)
		}
	}
}

// What is read back of an event is what it said when it came.
func TestRecall(t *testing.T) {
	var p Parsed
	message := []byte{}
	for _, body := range []string{
		`{"type":"track","event":"x","userId":"u","anonymousId":"a","context":{"traits":{"email":"a@x"},"externalIds":[{"type":"crm","id":"7"}]}}`,
		`{"type":"identify","userId":"u","traits":{"email":"a@x","plan":null}}`,
		`{"type":"alias","userId":"u","previousId":"a"}`,
		`{"type":"group","userId":"u","groupId":"acme","traits":{"size":7}}`,
		`{"type":"page","anonymousId":"a","name":"Home"}`,
	} {
		message = stream.Append(message, stream.Record{Kind: stream.KindEvent, Body: []byte(body)})
	}
	p.Add(Message{Seq: 7, Subject: stream.Subject("web"), Data: message})
	if len(p.Events) != 5 {
		t.Fatalf("%d events: %v", len(p.Events), p.Rejections)
	}
	for _, want := range p.Events {
		got := Event{Type: want.Type, UserID: want.UserID, AnonymousID: want.AnonymousID, Properties: want.Properties, Context: want.Context}
		got.Recall()
		if want.Account != nil {
			want.Account = &Account{ID: want.Account.ID}
		}
		if diff := cmp.Diff([]any{want.Identifiers, want.Traits, want.Account}, []any{got.Identifiers, got.Traits, got.Account}); diff != "" {
			t.Errorf("%s (-came +recalled):\n%s", want.Type, diff)
		}
	}
}
