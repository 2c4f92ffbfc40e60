package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// connectWait bounds the wait for the first connection when ctx has no earlier deadline: a store pod that is being
	// scheduled needs longer than one that restarts, and a pod that cannot connect should end and say why.
	connectWait = 60 * time.Second
	// pingInterval times two unanswered pings is how long a dead peer (a node that vanished) stays unnoticed.
	pingInterval = 10 * time.Second
	// maxReconnectWait is short: an embedded store is back within seconds and every collector refuses until then.
	maxReconnectWait = 2 * time.Second
)

// Connect is Dial, and waits for the first connection until ctx ends, at most one minute.
func Connect(ctx context.Context, url, credentialsDir string) (jetstream.JetStream, error) {
	js, err := Dial(url, credentialsDir)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, connectWait)
	defer cancel()
	if err := awaitConnected(ctx, js.Conn()); err != nil {
		js.Conn().Close()
		return nil, fmt.Errorf("connecting to the stream at %s: %w", url, err)
	}
	return js, nil
}

// Dial starts to connect to the NATS server at url (nats://host:port) with the user and password in the files username
// and password of credentialsDir, and gives its JetStream; Conn() of it is the connection, which the caller closes. An
// empty credentialsDir connects without credentials.
//
// The files are read again for each connection, so that rotated credentials are taken up, and a connection that is lost
// is made again for ever. Nothing is buffered meanwhile: a publish without a connection fails at once.
func Dial(url, credentialsDir string) (jetstream.JetStream, error) {
	options := []nats.Option{
		nats.Name(filepath.Base(os.Args[0])),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.CustomReconnectDelay(reconnectDelay),
		nats.IgnoreAuthErrorAbort(), // a password that is being rotated is refused for a while
		nats.ReconnectBufSize(-1),   // what is buffered in memory must not look sent
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(2),
		nats.Timeout(5 * time.Second),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				slog.Warn("connection to the stream lost; connecting again", "error", err.Error())
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { slog.Info("connected to the stream again") }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			slog.Warn("stream connection", "error", err.Error())
		}),
	}
	if credentialsDir != "" {
		if _, _, err := readCredentials(credentialsDir); err != nil {
			return nil, err
		}
		options = append(options, nats.UserInfoHandler(func() (string, string) {
			user, password, err := readCredentials(credentialsDir)
			if err != nil {
				slog.Warn("stream credentials cannot be read; the server will refuse", "error", err.Error())
			}
			return user, password
		}))
	}
	nc, err := nats.Connect(url, options...)
	if err != nil {
		return nil, fmt.Errorf("connecting to the stream at %s: %w", url, err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("opening JetStream at %s: %w", url, err)
	}
	return js, nil
}

func awaitConnected(ctx context.Context, nc *nats.Conn) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !nc.IsConnected() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			if last := nc.LastError(); last != nil {
				return fmt.Errorf("%w: %w", ctx.Err(), last)
			}
			return fmt.Errorf("%w: %w", ctx.Err(), errors.New("no server answers; is the store running?"))
		}
	}
	return nil
}

// reconnectDelay grows from 50 ms to maxReconnectWait, with jitter so that many clients do not dial in step.
func reconnectDelay(attempts int) time.Duration {
	delay := min(50*time.Millisecond<<min(attempts, 10), maxReconnectWait)
	return delay/2 + rand.N(delay/2)
}

func readCredentials(dir string) (user, password string, err error) {
	if user, err = readCredential(dir, "username"); err != nil {
		return "", "", err
	}
	if password, err = readCredential(dir, "password"); err != nil {
		return "", "", err
	}
	return user, password, nil
}

func readCredential(dir, name string) (string, error) {
	content, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return "", fmt.Errorf("reading the stream's credentials: %w", err)
	}
	text := strings.TrimSpace(string(content))
	if text == "" {
		return "", fmt.Errorf("reading the stream's credentials: file %s is empty", filepath.Join(dir, name))
	}
	return text, nil
}
