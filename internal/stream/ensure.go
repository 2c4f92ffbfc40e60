package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// DefaultRetention of the stream when whoever makes it does not know the Platform's.
	DefaultRetention = 7 * 24 * time.Hour
	// duplicates is how long the server remembers the id of a message: far longer than a Publisher tries again.
	duplicates = 2 * time.Minute
)

// EnsureStream makes the stream, or brings an existing one to what this package needs; it is idempotent and safe to call
// from several processes at once. A retention of 0 comes from those who do not decide it: they make a missing stream with
// DefaultRetention and leave an existing one's age limit as it is.
//
// Messages leave the stream by age only. When there is no room the server refuses new messages instead of dropping
// old ones (DiscardNew): an old one may not be stored yet. Settings that an administrator chose for an existing stream,
// such as replicas or placement, are left alone.
func EnsureStream(ctx context.Context, js jetstream.JetStream, retention time.Duration) error {
	if retention < 0 {
		return fmt.Errorf("ensuring stream %s: retention %s is negative", Name, retention)
	}
	for {
		existing, err := js.Stream(ctx, Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			_, err = js.CreateStream(ctx, desired(jetstream.StreamConfig{}, retention))
			if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
				continue // somebody else made it meanwhile
			}
			if err != nil {
				return fmt.Errorf("creating stream %s: %w", Name, err)
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("looking up stream %s: %w", Name, err)
		}
		have := existing.CachedInfo().Config
		if have.Storage != jetstream.FileStorage || have.Retention != jetstream.LimitsPolicy {
			return fmt.Errorf("stream %s has storage %s and retention %s; file and limits are needed, and neither can be changed: remove or rename the stream",
				Name, have.Storage, have.Retention)
		}
		want := desired(have, retention)
		if same(have, want) {
			return nil
		}
		if _, err := js.UpdateStream(ctx, want); err != nil {
			return fmt.Errorf("updating stream %s: %w", Name, err)
		}
		return nil
	}
}

func desired(config jetstream.StreamConfig, retention time.Duration) jetstream.StreamConfig {
	config.Name = Name
	config.Description = "events acknowledged and not yet aged out"
	config.Subjects = []string{SubjectPrefix + ">"}
	config.Storage = jetstream.FileStorage
	config.Retention = jetstream.LimitsPolicy
	config.Discard = jetstream.DiscardNew
	switch {
	case retention > 0:
		config.MaxAge = retention
	case config.MaxAge == 0:
		config.MaxAge = DefaultRetention
	}
	config.Duplicates = min(duplicates, config.MaxAge) // the server refuses a window longer than the age limit
	return config
}

func same(a, b jetstream.StreamConfig) bool {
	return len(a.Subjects) == 1 && a.Subjects[0] == b.Subjects[0] && a.Discard == b.Discard &&
		a.MaxAge == b.MaxAge && a.Duplicates == b.Duplicates && a.Description == b.Description
}
