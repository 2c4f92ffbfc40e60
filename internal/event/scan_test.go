package event

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A batch that is taken apart in one pass gives what taking its items apart one by one does.
func FuzzScan(f *testing.F) {
	for _, seed := range []string{
		`{"batch":[{"type":"track","event":"x","userId":"u","properties":{"a":[1,{"b":null}]}}],"sentAt":"2026-11-23T10:00:00Z","context":{"a.b":1}}`,
		`{"context":{"ip":"::1"},"batch" : [ { "type" : "page" , "anonymousId" : "a" } , {"type":"identify","user\u0049d":"u","traits":{"e":"1"},"traits":{"e":2}} ] , "integrations":{"All":[{}]}}`,
		`{"batch":[{"type":"track","event":"x","userId":"u"}],"batch":[{"type":"group","groupId":7,"userId":"u"}],"sentAt":1}`,
		`{"batch":[],"context":[]}`, `{"batch":[{"type":"alias","previousId":"\ud800","userId":"u"}]}`, `{"batch":[{"type":"track"},5,{}]}`, `{"batch":{}}`, `{"batch":[{}],}`, `{}`,
		`{"batch":[{"userId":12345678901234567890,"type":"page","timestamp":null,"context":{"traits":{"a":1},"externalIds":[{"id":"1","type":"x"}]}}]}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		of := func() (*Parsed, *parser) {
			p := &Parsed{}
			return p, &parser{out: p, seq: 7, source: "web", party: "First", received: time.Unix(1_800_000_000, 0).UTC()}
		}
		var s scanner
		if !s.batch(body, func(string, string) {}) {
			return
		}
		fast, one := of()
		one.batch(body)
		slow, other := of()
		other.tolerant(body)
		if diff := cmp.Diff(slow.Events, fast.Events); diff != "" {
			t.Errorf("events (-one by one +in one pass):\n%s", diff)
		}
		if diff := cmp.Diff(slow.Rejections, fast.Rejections); diff != "" {
			t.Errorf("rejections (-one by one +in one pass):\n%s", diff)
		}
	})
}
