package soak

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	eventsPerSecond = 5000
	clients         = 25
	perRequest      = 10
	writeKey        = "soak-key"
)

// load sends events at a fixed rate, each batch again and again until it is acknowledged, as SDKs do.
type load struct {
	url          string
	acknowledged atomic.Int64
	refused      atomic.Int64 // answers other than 200, and requests without one
	running      sync.WaitGroup
	sent         [clients]int // batches, each by its own client
}

// start sends until ctx ends, and then on until what was begun is acknowledged.
func (l *load) start(ctx context.Context) {
	for client := range clients {
		l.running.Go(func() {
			// Every client is late by a part of its interval, so that they do not all send at once.
			interval := time.Second * clients * perRequest / eventsPerSecond
			next := time.Now().Add(interval * time.Duration(client) / clients)
			for ; ; next = next.Add(interval) {
				select {
				case <-ctx.Done():
					return
				case <-time.After(time.Until(next)): // at once when it is late: an outage is made up for
				}
				l.batch(client, l.sent[client])
				l.sent[client]++
			}
		})
	}
}

func id(client, batch, i int) string { return fmt.Sprintf("%d-%d-%d", client, batch, i) }

func (l *load) batch(client, number int) {
	var body strings.Builder
	body.WriteString(`{"batch":[`)
	for i := range perRequest {
		if i > 0 {
			body.WriteByte(',')
		}
		fmt.Fprintf(&body, `{"type":"track","event":"Seen","messageId":%q,"userId":"u%d","anonymousId":"a%d","properties":{"n":%d,"filler":%q}}`,
			id(client, number, i), (number*perRequest+i)%4999, (number+client)%9001, i, strings.Repeat("x", 400))
	}
	body.WriteString(`]}`)
	for {
		if l.post(body.String()) {
			l.acknowledged.Add(perRequest)
			return
		}
		l.refused.Add(1)
		time.Sleep(20 * time.Millisecond)
	}
}

func (l *load) post(body string) bool {
	request, err := http.NewRequest(http.MethodPost, l.url+"/v1/batch", strings.NewReader(body))
	if err != nil {
		return false
	}
	request.SetBasicAuth(writeKey, "")
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode == http.StatusOK
}

var client = &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
