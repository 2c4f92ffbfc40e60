package collect

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"image/gif"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kohort.dev/kohort/internal/stream"
)

func TestPixelsStoreTheEventOfTheirQuery(t *testing.T) {
	c := newCollector(t, stream.PublisherOptions{}, nil)
	opened := `{"writeKey":"test-key","userId":"u1","event":"Email Opened","properties":{"subject":"Grüße >?"}}`
	data := base64.StdEncoding.EncodeToString([]byte(opened))
	const rudder = `,"channel":"web","sentAt":"2026-11-23T15:24:01.123456Z"}`
	cases := []struct {
		why, path string
		kind      stream.Kind
		body      string
	}{
		{"Segment's, the key in the event", "/v1/pixel/track?data=" + url.QueryEscape(data), stream.KindTrack, opened},
		{"the base64 for URLs, without padding", "/v1/pixel/identify?data=" + base64.RawURLEncoding.EncodeToString([]byte(opened)), stream.KindIdentify, opened},
		{"base64 that was put into the URL as it is", "/v1/pixel/page?data=" + data, stream.KindPage, opened},
		{"the key beside the event", "/v1/pixel/track?writeKey=test-key&data=e30", stream.KindTrack, "{}"},
		{"RudderStack's, dots nest", "/pixel/v1/track?writeKey=test-key&anonymousId=a1&event=Email+Opened&properties.campaign.id=7&properties.plan=pro",
			stream.KindTrack, `{"anonymousId":"a1","event":"Email Opened","properties":{"campaign":{"id":"7"},"plan":"pro"}` + rudder},
		{"RudderStack's page", "/pixel/v1/page?writeKey=test-key&userId=u1&name=Home", stream.KindPage, `{"userId":"u1","name":"Home"` + rudder},
	}
	c.records(t)
	for _, test := range cases {
		t.Run(test.why, func(t *testing.T) {
			got := c.send(t, "GET", test.path, "")
			if got.status != 200 || got.header.Get("Content-Type") != "image/gif" || !strings.Contains(got.header.Get("Cache-Control"), "no-store") {
				t.Fatalf("got %d with %v", got.status, got.header)
			}
			isImage(t, got)
			stored := c.records(t)
			if len(stored) != 1 || stored[0].Kind != test.kind || stored[0].IP != "127.0.0.1" {
				t.Fatalf("stored %+v", stored)
			}
			var want, have any
			if err := json.Unmarshal([]byte(test.body), &want); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(stored[0].Body, &have); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, have); diff != "" {
				t.Errorf("(-want +stored):\n%s", diff)
			}
		})
	}
}

func isImage(t *testing.T, got answered) {
	t.Helper()
	image, err := gif.Decode(bytes.NewReader([]byte(got.raw)))
	if err != nil || image.Bounds().Dx() != 1 || image.Bounds().Dy() != 1 {
		t.Errorf("the answer is not an image of one point: %v", err)
	}
}

// A 200 says that an event is kept, so a pixel that is refused says so too, and is an image nevertheless.
func TestPixelsThatAreRefusedAreImagesAndStoreNothing(t *testing.T) {
	c := newCollector(t, stream.PublisherOptions{}, nil)
	c.records(t)
	long := base64.StdEncoding.EncodeToString([]byte(`{"writeKey":"test-key","a":"` + strings.Repeat("x", maxSingle) + `"}`))
	for why, test := range map[string]struct {
		path   string
		status int
		inside string // of the header that says why
	}{
		"no data":                         {"/v1/pixel/track", 400, "data"},
		"data that is not base64":         {"/v1/pixel/track?data=%25%25", 400, "base64"},
		"data that is not JSON":           {"/v1/pixel/track?writeKey=test-key&data=eA", 400, "JSON"},
		"no key":                          {"/v1/pixel/track?data=e30", 401, "write key"},
		"a wrong key":                     {"/pixel/v1/track?writeKey=other", 401, "write key"},
		"a query that cannot be read":     {"/pixel/v1/track?a=%zz", 400, "query"},
		"a value below a value":           {"/pixel/v1/track?writeKey=test-key&a=1&a.b=2", 400, "a.b"},
		"a name of nothing but dots":      {"/pixel/v1/track?writeKey=test-key&...=2", 400, "dots"},
		"a name that nests without end":   {"/pixel/v1/track?writeKey=test-key&" + strings.Repeat("a.", 1000) + "a=1", 400, "dots"},
		"an event larger than one may be": {"/v1/pixel/track?data=" + url.QueryEscape(long), 400, "KiB"},
	} {
		t.Run(why, func(t *testing.T) {
			got := c.send(t, "GET", test.path, "")
			if got.status != test.status || !strings.Contains(got.header.Get("Kohort-Error"), test.inside) {
				t.Errorf("got %d, %q; want %d and %q in it", got.status, got.header.Get("Kohort-Error"), test.status, test.inside)
			}
			isImage(t, got)
		})
	}
	if stored := c.records(t); len(stored) != 0 {
		t.Errorf("stored %+v", stored)
	}
	if got := c.send(t, http.MethodHead, "/v1/pixel/track?writeKey=test-key&data=e30", ""); got.status == 200 || len(c.records(t)) != 0 {
		t.Errorf("who only asks for the header sends no event: got %d", got.status)
	}
}
