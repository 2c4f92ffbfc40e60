// Package collect takes events from SDKs that speak Segment's tracking API over HTTP and answers 200 once they are on
// the stream's disk. It checks what can be checked without taking events apart: the write key, sizes, and that a body is
// JSON. What is wrong inside one event is found later, in the engine, so that one bad event never fails its batch.
//
// The protocol: https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/, and what its SDKs
// really send: one-letter endpoints, text/plain bodies, write keys in bodies, gzip.
package collect
