package destination

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"kohort.dev/kohort/internal/run"
)

// NATSConfig tells where a NATS publishes.
type NATSConfig struct {
	run.NATSTarget
	PasswordFile    string // of the user, if there is one
	CredentialsFile string // as nsc writes it, if there is one
	Telling
}

// NATS publishes a message for each operation to a stream of JetStream; docs/destinations/messages.md describes it.
type NATS struct {
	config NATSConfig
	js     jetstream.JetStream // nil until the first use
	trace  *trace              // that is shown messages, if there is one

	mu     sync.Mutex
	denied error // what the server said last that it does not allow
}

// natsAck is how long the server may take to acknowledge a message.
const natsAck = 15 * time.Second

// NewNATS makes a NATS; it connects at the first use.
func NewNATS(config NATSConfig) (*NATS, error) {
	if len(config.URLs) == 0 || config.Subject == "" {
		return nil, run.Refuse(ReasonInvalidSpec, "spec.nats of the Destination needs urls and subject")
	}
	return &NATS{config: config}, nil
}

func (n *NATS) observe(t *trace) { n.trace = t }

// Holder is the servers and the subject.
func (n *NATS) Holder() string { return strings.Join(n.config.URLs, ",") + "#" + n.config.Subject }

// Close closes the connection.
func (n *NATS) Close() error {
	if n.js != nil {
		n.js.Conn().Close()
		n.js = nil
	}
	return nil
}

func (n *NATS) connect() error {
	if n.js != nil && n.js.Conn().IsConnected() {
		return nil
	}
	_ = n.Close() // a Secret may be another since
	options := []nats.Option{
		nats.Name("kohort"), nats.Timeout(connectTimeout), nats.NoReconnect(),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			n.mu.Lock()
			defer n.mu.Unlock()
			if errors.Is(err, nats.ErrPermissionViolation) {
				n.denied = err
			}
		}),
	}
	if n.config.User != "" {
		password, err := readSecret(n.config.PasswordFile, "spec.nats.passwordSecretRef")
		if err != nil {
			return err
		}
		options = append(options, nats.UserInfo(n.config.User, password))
	}
	if n.config.Credentials {
		if _, err := readBounded(n.config.CredentialsFile); err != nil {
			return run.Refuse(ReasonSecretNotFound, "reading the Secret key that spec.nats.credentialsSecretRef names: %v; create the Secret with that key", pathless(err))
		}
		options = append(options, nats.UserCredentials(n.config.CredentialsFile))
	}
	conn, err := nats.Connect(strings.Join(n.config.URLs, ","), options...)
	if err != nil {
		return n.failure(err)
	}
	if n.js, err = jetstream.New(conn); err != nil {
		conn.Close()
		return fmt.Errorf("making a JetStream client: %w", err)
	}
	return nil
}

// The headers of a message.
const (
	natsKey  = "Kohort-Key"
	natsType = "Kohort-Type"
)

// Deliver publishes a batch and waits until each message is on the stream; see Destination. JetStream drops a message
// whose id it has seen within the window of its stream.
func (n *NATS) Deliver(ctx context.Context, batch Batch) ([]Result, error) {
	messages, err := n.config.messages(batch.Operations)
	if err != nil {
		return nil, err
	}
	err = n.trace.queue(n.Holder(), messages, func(m queued) []string {
		return []string{natsKey + ": " + m.key, natsType + ": " + m.kind, jetstream.MsgIDHeader + ": " + m.id}
	})
	if err != nil {
		return nil, err
	}
	if err := n.connect(); err != nil {
		return nil, err
	}
	results := make([]Result, len(messages))
	waiting := make([]jetstream.PubAckFuture, len(messages))
	limit := n.js.Conn().MaxPayload()
	for i, m := range messages {
		if int64(len(m.body))+1024 > limit { // the headers count too
			results[i] = tooLong(fmt.Sprintf("the %d bytes of the server's max_payload", limit))
			continue
		}
		message := nats.NewMsg(n.config.Subject)
		message.Header.Set(natsKey, m.key)
		message.Header.Set(natsType, m.kind)
		message.Data = m.body
		if waiting[i], err = n.js.PublishMsgAsync(message, jetstream.WithMsgID(m.id)); err != nil {
			return nil, n.failure(err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, natsAck)
	defer cancel()
	for _, ack := range waiting {
		if ack == nil {
			continue
		}
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			return nil, n.failure(err)
		case <-ctx.Done():
			return nil, n.failure(ctx.Err())
		}
	}
	return results, nil
}

// failure turns an error into the kind that the caller's policy is about.
func (n *NATS) failure(err error) error {
	n.mu.Lock()
	denied := n.denied
	n.mu.Unlock()
	where := strings.Join(n.config.URLs, ", ")
	login := "spec.nats"
	switch {
	case n.config.User != "":
		login = "spec.nats.username and the Secret key that spec.nats.passwordSecretRef names"
	case n.config.Credentials:
		login = "the Secret key that spec.nats.credentialsSecretRef names"
	}
	var api *jetstream.APIError
	switch {
	case denied != nil:
		return run.Refuse(ReasonUnreachable, "%s does not let this user publish to %q; grant it, or check %s", where, n.config.Subject, login)
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked), errors.Is(err, nats.ErrNoUserCB):
		return run.Refuse(ReasonUnreachable, "%s refuses the login; check %s", where, login)
	case errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, nats.ErrNoResponders):
		return run.Refuse(ReasonUnreachable, "no stream of %s takes the subject %q; make one with that subject, or correct spec.nats.subject", where, n.config.Subject)
	case errors.As(err, &api):
		return &UnavailableError{Err: fmt.Errorf("%s: the stream refuses messages (error %d: %s); look at its limits", where, api.ErrorCode, api.Description)}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return &UnavailableError{Err: fmt.Errorf("%s did not acknowledge within %s; look at the server's log", where, natsAck)}
	}
	return &UnavailableError{Unconnected: true, Err: fmt.Errorf("connecting to %s: %w; check that it runs and that spec.nats.urls is right", where, err)}
}
