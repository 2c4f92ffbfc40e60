package jetstream

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"kohort.dev/kohort/internal/store/disk"
)

const (
	healthEvery  = time.Second
	healthWithin = 4 * time.Second // below the 5 s that a kubelet's probe may wait
	healthStream = "KOHORT_STORE_HEALTH"
	healthTopic  = "_kohort.store.health"
)

// write publishes one message and waits for its acknowledgement.
func (s *Stream) write() error {
	if err := disk.Check(s.cfg.Dir, s.cfg.MinFree); err != nil {
		return err
	}
	js, err := s.conn.JetStream(nats.MaxWait(healthWithin))
	if err != nil {
		return fmt.Errorf("probing the stream: %w", err)
	}
	now := []byte(strconv.FormatInt(time.Now().UnixMilli(), 10))
	_, err = js.Publish(healthTopic, now)
	if errors.Is(err, nats.ErrNoStreamResponse) || errors.Is(err, nats.ErrNoResponders) {
		if _, err = js.AddStream(&nats.StreamConfig{
			Name: healthStream, Subjects: []string{healthTopic}, MaxMsgs: 1, Discard: nats.DiscardOld,
			Storage: nats.FileStorage, Description: "Written by the store's readiness probe; holds one message.",
		}); err != nil {
			return fmt.Errorf("making the stream of the readiness probe: %w", err)
		}
		_, err = js.Publish(healthTopic, now)
	}
	if err != nil {
		return fmt.Errorf("writing to the stream: %w", err)
	}
	return nil
}
