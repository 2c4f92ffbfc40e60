package collect

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"kohort.dev/kohort/internal/stream"
)

// Pixels are images for where no script runs, such as an e-mail or a page without JavaScript. Segment's have the event in
// one parameter, data, as JSON in base64; RudderStack's have a parameter for each field, and dots in the names nest.
// https://segment.com/docs/connections/sources/catalog/libraries/server/pixel-tracking-api/
const (
	segmentPixel     = "/v1/pixel/"
	rudderstackPixel = "/pixel/v1/"
)

// maxPixelDepth of names with dots. context.campaign.source has three.
const maxPixelDepth = 16

// point is an image of one transparent point (GIF89a).
var point = []byte("GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;")

// pixel is the endpoint that a path of an image stands for, and what makes the event of its query.
func (h *handler) pixel(path string) (endpoint, func(url.Values, time.Time) ([]byte, *refusal), bool) {
	name, isSegment := strings.CutPrefix(path, segmentPixel)
	read := readDataPixel
	if !isSegment {
		var ok bool
		if name, ok = strings.CutPrefix(path, rudderstackPixel); !ok {
			return endpoint{}, nil, false
		}
		read = readFieldsPixel
	}
	e, ok := h.routes["/v1/"+name]
	if !ok || e.kind == stream.KindBatch || e.name != name { // images have no one-letter names
		return endpoint{}, nil, false
	}
	e.name = "pixel"
	return e, read, true
}

// takePixel stores the event of an image's query. The answer is an image whatever happens, so that no page shows a broken
// one; its status says whether the event is kept, and the header Kohort-Error why not.
func (h *handler) takePixel(w http.ResponseWriter, r *http.Request, e endpoint, read func(url.Values, time.Time) ([]byte, *refusal)) int {
	refused := h.storePixel(r, e, read)
	header := w.Header()
	header.Set("Content-Type", "image/gif")
	header.Set("Cache-Control", "no-store, max-age=0") // a cached image is an event that nobody hears of
	status := http.StatusOK
	if refused != nil {
		if status = refused.status; status == statusClientGone {
			return status
		}
		refused.setHeaders(header)
		header.Set("Kohort-Error", refused.code+": "+refused.message)
	}
	w.WriteHeader(status)
	_, _ = w.Write(point) // the client may be gone; the event is stored either way
	return status
}

func (h *handler) storePixel(r *http.Request, e endpoint, read func(url.Values, time.Time) ([]byte, *refusal)) *refusal {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return invalid("query", "the query cannot be read; encode its values for URLs")
	}
	body, refused := read(query, h.Now())
	switch {
	case refused != nil:
		return refused
	case len(body) > e.limit(h.MaxBatch):
		return tooLarge("query", fmt.Sprintf("the event is larger than %d KiB", maxSingle>>10))
	}
	return h.accept(r, e, clean(body))
}

// readDataPixel gives the JSON in the parameter data.
func readDataPixel(query url.Values, _ time.Time) ([]byte, *refusal) {
	data := strings.TrimRight(strings.NewReplacer(" ", "+", "-", "+", "_", "/").Replace(query.Get("data")), "=")
	if data == "" { // a + that was not encoded is read as a space
		return nil, invalid("data", "the parameter data is missing; it is the event as JSON in base64")
	}
	body, err := base64.RawStdEncoding.DecodeString(data)
	if err != nil {
		return nil, invalid("data", "the parameter data is not base64; encode the event's JSON with it")
	}
	return body, nil
}

// readFieldsPixel makes an event of parameters: properties.plan=pro is {"properties":{"plan":"pro"}}. All values are
// texts. It was sent when it was received: an image cannot be kept for later.
func readFieldsPixel(query url.Values, now time.Time) ([]byte, *refusal) {
	root := map[string]any{"channel": "web", "sentAt": now.UTC().Format(time.RFC3339Nano)}
	names := make([]string, 0, len(query))
	for name := range query {
		names = append(names, name)
	}
	slices.Sort(names) // so that the same query always fails with the same message
	for _, name := range names {
		if name == "writeKey" { // it is no part of the event
			continue
		}
		path := strings.Split(name, ".")
		if len(path) > maxPixelDepth || slices.Contains(path, "") {
			return nil, invalid("query", fmt.Sprintf("the parameter name %.100q must be up to %d names with single dots between them", name, maxPixelDepth))
		}
		at := root
		for _, step := range path[:len(path)-1] {
			if at[step] == nil {
				at[step] = map[string]any{}
			}
			inner, ok := at[step].(map[string]any)
			if !ok {
				return nil, invalid("query", fmt.Sprintf("the parameter %.100q lies below another one that has a value; leave one of them out", name))
			}
			at = inner
		}
		at[path[len(path)-1]] = query.Get(name)
	}
	body, err := json.Marshal(root)
	if err != nil {
		return nil, invalid("query", "the query makes no event: "+err.Error())
	}
	return body, nil
}
