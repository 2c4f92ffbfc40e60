package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// progress tells a person what was done and how long that took since the
// command began. Steps may end at the same time.
type progress struct {
	mu    sync.Mutex
	to    io.Writer
	began time.Time
	now   func() time.Time
}

func newProgress(to io.Writer, now func() time.Time) *progress {
	return &progress{to: to, began: now(), now: now}
}

// say writes one line.
func (p *progress) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.to, "[%6.1fs] %s\n", p.now().Sub(p.began).Seconds(), fmt.Sprintf(format, args...))
}

// pollEvery is short beside the seconds that components take to start.
const pollEvery = 150 * time.Millisecond

// final is an error after which waiting is of no use.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// waitFor asks check until it answers with no error. It fails with check's
// last error after limit, and at once when that error is final.
func waitFor(ctx context.Context, what string, limit time.Duration, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	var last error
	for {
		if err := check(ctx); err == nil {
			return nil
		} else if ctx.Err() == nil || last == nil {
			last = err
		}
		var stop final
		if errors.As(last, &stop) {
			return fmt.Errorf("waiting for %s: %w", what, last)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s (at most %s): %w", what, limit, last)
		case <-ticker.C:
		}
	}
}
