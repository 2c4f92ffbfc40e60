package collect

import (
	"strings"

	"kohort.dev/kohort/internal/stream"
)

// Limits of the tracking API. Segment documents 32 KB for a single event, 500 KB and 2,500 events for a batch.
const (
	maxSingle = 32 << 10
	maxItems  = 2500
	// DefaultMaxBatch is the size of a batch in bytes, unpacked.
	DefaultMaxBatch = 500 << 10
	// LargestMaxBatch that can be asked for: RudderStack's 4,000 KB, and half of what the stream takes at once.
	LargestMaxBatch = 4 << 20
	// SmallestMaxBatch holds a single event of the largest size.
	SmallestMaxBatch = maxSingle
)

// endpoint is what a path stands for.
type endpoint struct {
	name string // of the endpoint in metrics
	kind stream.Kind
}

// limit of the body in bytes, unpacked.
func (e endpoint) limit(maxBatch int) int {
	if e.kind == stream.KindBatch {
		return maxBatch
	}
	return maxSingle
}

// routes are the paths that take events. Every endpoint has a one-letter alias (the browser SDK uses it) and both work
// with and without /v1, because SDKs differ in what they append to the configured host. Some append b to a URL that
// ends with batch already; the beacon path is RudderStack's, for navigator.sendBeacon.
func routes() map[string]endpoint {
	kinds := map[string]stream.Kind{
		"batch": stream.KindBatch, "track": stream.KindTrack, "identify": stream.KindIdentify, "page": stream.KindPage,
		"screen": stream.KindScreen, "group": stream.KindGroup, "alias": stream.KindAlias,
	}
	table := map[string]endpoint{}
	for name, kind := range kinds {
		e := endpoint{name: name, kind: kind}
		for _, prefix := range []string{"", "/v1"} {
			table[prefix+"/"+name] = e
			table[prefix+"/"+name[:1]] = e
		}
	}
	batch := table["/batch"]
	for _, path := range []string{"/batch/b", "/v1/batch/b", "/beacon/v1/batch"} {
		table[path] = batch
	}
	return table
}

const (
	settingsPrefix = "/v1/projects/"
	settingsSuffix = "/settings"
	// sourceConfig is where RudderStack's browser and phone SDKs ask, below their configUrl.
	sourceConfig = "/sourceConfig"
)

// settingsKey is the write key in the path of a request for an SDK's settings.
func settingsKey(path string) (string, bool) {
	key, ok := strings.CutPrefix(path, settingsPrefix)
	if !ok {
		return "", false
	}
	key, ok = strings.CutSuffix(key, settingsSuffix)
	return key, ok && key != "" && !strings.Contains(key, "/")
}
