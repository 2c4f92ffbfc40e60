package collect

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"kohort.dev/kohort/internal/stream"
)

// Whoever waits for the answer before sending the next request finds both in this order in the stream, whichever
// collector takes them: there is one stream, and an answer means that it holds the event. So collectors may come and go.
func TestAUsersEventsStayInOrderWhenCollectorsComeAndGo(t *testing.T) {
	c := newCollector(t, stream.PublisherOptions{}, nil)
	const users, each = 16, 60
	var mu sync.RWMutex
	replicas := []http.Handler{c.Config.Handler}
	join := func() *stream.Publisher {
		publisher := stream.NewPublisher(c.js, stream.Subject("web"), stream.PublisherOptions{})
		options := c.Config.Handler.(*handler).HandlerOptions
		options.Log = publisher
		for deadline := time.Now().Add(10 * time.Second); publisher.Ready() != nil; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal(publisher.Ready())
			}
		}
		mu.Lock()
		replicas = append(replicas, NewHandler(options))
		mu.Unlock()
		return publisher
	}
	pick := func(n int) http.Handler {
		mu.RLock()
		defer mu.RUnlock()
		return replicas[n%len(replicas)]
	}
	c.records(t)
	var sending sync.WaitGroup
	for user := range users {
		sending.Go(func() {
			for n := range each {
				if n%20 == 0 {
					time.Sleep(time.Millisecond) // let the number of collectors change meanwhile
				}
				for try := 0; ; try++ {
					request, err := http.NewRequest("POST", "/v1/track", strings.NewReader(fmt.Sprintf(`{"writeKey":"test-key","userId":"%d","n":%d}`, user, n)))
					if err != nil {
						t.Error(err)
						return
					}
					answer := recorder{header: http.Header{}}
					pick(user+n+try).ServeHTTP(&answer, request)
					if answer.status == 0 || answer.status == 200 {
						break
					}
					if try == 100 {
						t.Errorf("user %d, event %d: status %d", user, n, answer.status)
						return
					}
				}
			}
		})
	}
	for range 3 {
		publisher := join()
		time.Sleep(10 * time.Millisecond)
		publisher.Close(context.Background()) // what is under way is answered, what comes later is refused
		mu.Lock()
		replicas = replicas[:1]
		mu.Unlock()
	}
	sending.Wait()
	next := make([]int64, users)
	for _, r := range c.records(t) {
		user, n := gjson.GetBytes(r.Body, "userId").Int(), gjson.GetBytes(r.Body, "n").Int()
		if n != next[user] {
			t.Fatalf("user %d: event %d stands where %d should", user, n, next[user])
		}
		next[user]++
	}
	for user, n := range next {
		if n != each {
			t.Errorf("user %d: %d of %d events are stored", user, n, each)
		}
	}
}

// recorder keeps the status.
type recorder struct {
	header http.Header
	status int
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) Write(p []byte) (int, error) { return len(p), nil }
func (r *recorder) WriteHeader(status int)      { r.status = status }
