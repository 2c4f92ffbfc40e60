package jetstream

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"kohort.dev/kohort/internal/store/disk"
)

// guardEvery is how often the free space is looked at. Within it a disk at
// 1 GB/s fills 250 MB, which the floor of all but the smallest volumes covers.
const guardEvery = 250 * time.Millisecond

// guard refuses publishes while the disk is full. JetStream's own limit counts
// only its own messages, but the volume may have other users; and when a write
// fails for want of space it may switch itself off.
func (s *Stream) guard(ctx context.Context) {
	defer close(s.ended)
	tick := time.NewTicker(guardEvery)
	defer tick.Stop()
	full := false
	for {
		err := disk.Check(s.cfg.Dir, s.cfg.MinFree)
		if now := err != nil; now != full {
			if setErr := s.refuse(now); setErr != nil {
				s.cfg.Log.ErrorContext(ctx, "changing the stream's limits failed", "error", setErr)
			} else {
				full = now
				s.cfg.Log.WarnContext(ctx, "stream changed", "refusesPublishes", full, "reason", fmt.Sprint(err))
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// refuse makes every publish fail with "resource limits exceeded for account"
// (error 10002), or lets them succeed again. Messages can still be read,
// acknowledged and deleted.
func (s *Stream) refuse(on bool) error {
	account, err := s.server.LookupAccount(server.DEFAULT_GLOBAL_ACCOUNT)
	if err != nil {
		return fmt.Errorf("finding the stream's account: %w", err)
	}
	limits := server.JetStreamAccountLimits{
		MaxMemory: -1, MaxStore: -1, MaxStreams: -1, MaxConsumers: -1, MaxAckPending: -1,
		MemoryMaxStreamBytes: -1, StoreMaxStreamBytes: -1,
	}
	if on {
		limits.MaxStore = 1
	}
	return account.UpdateJetStreamLimits(map[string]server.JetStreamAccountLimits{"": limits})
}

// capacity is how much all streams may hold on the volume of dir: what they
// hold now is not known yet, so it is the volume's size less the floor.
func capacity(dir string, floor uint64) (int64, error) {
	u, err := disk.Of(dir)
	if err != nil {
		return 0, err
	}
	if floor == 0 {
		floor = u.Floor()
	}
	if u.Total <= floor {
		return 0, fmt.Errorf("the volume of %s has %d MiB, which leaves no room above the %d MiB that stay free", dir, u.Total>>20, floor>>20)
	}
	return int64(u.Total - floor), nil
}
