package kubectl

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
)

// Forward opens a local port that leads to a port of a Service or pod, such as service/shop-warehouse. stop ends it and
// must be called.
func (k Kubectl) Forward(ctx context.Context, target string, port int) (address string, stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	command := k.command(ctx, "port-forward", "--address", "127.0.0.1", target, fmt.Sprintf(":%d", port))
	var stderr strings.Builder
	command.Stderr = &stderr
	command.WaitDelay = 5 * time.Second
	output, err := command.StdoutPipe()
	if err != nil {
		cancel()
		return "", nil, fmt.Errorf("forwarding to %s: %w", target, err)
	}
	if err := command.Start(); err != nil {
		cancel()
		return "", nil, fmt.Errorf("forwarding to %s: %w", target, err)
	}
	lines := bufio.NewReader(output)
	first, err := lines.ReadString('\n') // ends when kubectl does
	match := regexp.MustCompile(`Forwarding from (127\.0\.0\.1:\d+)`).FindStringSubmatch(first)
	if match == nil {
		cancel()
		_ = command.Wait() // what it said tells more than how it ended
		return "", nil, fmt.Errorf("forwarding to %s: %q %s (%w)", target, first, strings.TrimSpace(stderr.String()), err)
	}
	drained := make(chan struct{})
	go func() { // kubectl writes a line per connection and must not block on it
		defer close(drained)
		_, _ = io.Copy(io.Discard, lines)
	}()
	return match[1], func() {
		cancel()
		<-drained
		_ = command.Wait() // killed, as it was meant to be
	}, nil
}
