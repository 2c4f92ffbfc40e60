package destination

import (
	"context"
	"sync/atomic"
)

type counterKey struct{}

// Counting gives a context under which requests are counted: a batch may take several.
func Counting(ctx context.Context) (context.Context, *atomic.Int64) {
	counter := new(atomic.Int64)
	return context.WithValue(ctx, counterKey{}, counter), counter
}

// counted counts a request that is about to be made.
func counted(ctx context.Context) {
	if counter, ok := ctx.Value(counterKey{}).(*atomic.Int64); ok {
		counter.Add(1)
	}
}
