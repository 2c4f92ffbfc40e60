package destination

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"kohort.dev/kohort/internal/run"
)

// KafkaConfig tells where a Kafka produces.
type KafkaConfig struct {
	run.KafkaTarget
	PasswordFile string // of the user, if there is one
	CAFile       string // certificates of those who may sign the brokers', if there is one
	Telling
}

// Kafka produces a record for each operation to a topic; docs/destinations/messages.md describes it.
type Kafka struct {
	config KafkaConfig
	client *kgo.Client // nil until the first use and after a failure
	trace  *trace      // that is shown records, if there is one
}

// kafkaDelivery is how long a record may take, with what the client tries again by itself.
const kafkaDelivery = 15 * time.Second

// NewKafka makes a Kafka; it connects at the first use.
func NewKafka(config KafkaConfig) (*Kafka, error) {
	if len(config.Brokers) == 0 || config.Topic == "" {
		return nil, run.Refuse(ReasonInvalidSpec, "spec.kafka of the Destination needs brokers and topic")
	}
	return &Kafka{config: config}, nil
}

func (k *Kafka) observe(t *trace) { k.trace = t }

// Holder is the brokers and the topic.
func (k *Kafka) Holder() string {
	return "kafka://" + strings.Join(k.config.Brokers, ",") + "#" + k.config.Topic
}

// Close closes connections.
func (k *Kafka) Close() error {
	if k.client != nil {
		k.client.Close()
		k.client = nil
	}
	return nil
}

func (k *Kafka) connect(ctx context.Context) error {
	if k.client != nil {
		return nil
	}
	options := []kgo.Opt{
		kgo.SeedBrokers(k.config.Brokers...), kgo.ClientID("kohort"), kgo.DefaultProduceTopic(k.config.Topic),
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.RecordDeliveryTimeout(kafkaDelivery), kgo.DialTimeout(connectTimeout),
		kgo.UnknownTopicRetries(1), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)),
	}
	if k.config.TLS {
		config := &tls.Config{MinVersion: tls.VersionTLS12}
		if k.config.CA {
			pem, err := readBounded(k.config.CAFile)
			if err != nil {
				return run.Refuse(ReasonSecretNotFound, "reading the Secret key that spec.kafka.tls.caSecretRef names: %v; create the Secret with that key", pathless(err))
			}
			config.RootCAs = x509.NewCertPool()
			if !config.RootCAs.AppendCertsFromPEM([]byte(pem)) {
				return run.Refuse(ReasonInvalidSpec, "the Secret key that spec.kafka.tls.caSecretRef names holds no certificate in PEM")
			}
		}
		options = append(options, kgo.DialTLSConfig(config))
	}
	if k.config.Mechanism != "" {
		password, err := readSecret(k.config.PasswordFile, "spec.kafka.sasl.passwordSecretRef")
		if err != nil {
			return err
		}
		options = append(options, kgo.SASL(mechanism(k.config.Mechanism, k.config.User, password)))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return run.Refuse(ReasonInvalidSpec, "spec.kafka of the Destination cannot be used: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if err := client.Ping(ctx); err != nil {
		client.Close()
		return k.failure(err)
	}
	k.client = client
	return nil
}

func mechanism(name, user, password string) sasl.Mechanism {
	auth := scram.Auth{User: user, Pass: password}
	switch name {
	case "SCRAM-SHA-256":
		return auth.AsSha256Mechanism()
	case "SCRAM-SHA-512":
		return auth.AsSha512Mechanism()
	}
	return plain.Auth{User: user, Pass: password}.AsMechanism()
}

// The headers of a record.
const (
	kafkaID   = "kohort-id"
	kafkaType = "kohort-type"
)

// Deliver produces a batch and waits until every replica in sync has each record; see Destination.
func (k *Kafka) Deliver(ctx context.Context, batch Batch) ([]Result, error) {
	messages, err := k.config.messages(batch.Operations)
	if err != nil {
		return nil, err
	}
	err = k.trace.queue(k.Holder(), messages, func(m queued) []string {
		return []string{"key: " + m.key, kafkaType + ": " + m.kind, kafkaID + ": " + m.id}
	})
	if err != nil {
		return nil, err
	}
	if err := k.connect(ctx); err != nil {
		return nil, err
	}
	records := make([]*kgo.Record, len(messages))
	place := make(map[*kgo.Record]int, len(messages))
	for i, m := range messages {
		records[i] = &kgo.Record{Key: []byte(m.key), Value: m.body, Headers: []kgo.RecordHeader{{Key: kafkaType, Value: []byte(m.kind)}, {Key: kafkaID, Value: []byte(m.id)}}}
		place[records[i]] = i
	}
	results := make([]Result, len(messages))
	for _, produced := range k.client.ProduceSync(ctx, records...) {
		switch {
		case produced.Err == nil:
		case errors.Is(produced.Err, kerr.MessageTooLarge) || errors.Is(produced.Err, kerr.RecordListTooLarge):
			results[place[produced.Record]] = tooLong("the topic's max.message.bytes or the 1,000,012 bytes of a request")
		default:
			_ = k.Close() // a Secret may be another since
			return nil, k.failure(produced.Err)
		}
	}
	return results, nil
}

// failure turns an error into the kind that the caller's policy is about.
func (k *Kafka) failure(err error) error {
	where := strings.Join(k.config.Brokers, ", ")
	var dial *net.OpError
	var resolve *net.DNSError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.Is(err, kerr.SaslAuthenticationFailed), errors.Is(err, kerr.UnsupportedSaslMechanism), errors.Is(err, kerr.IllegalSaslState):
		return run.Refuse(ReasonUnreachable, "%s refuses the login; check spec.kafka.sasl and the Secret key that spec.kafka.sasl.passwordSecretRef names", where)
	case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.ClusterAuthorizationFailed):
		return run.Refuse(ReasonUnreachable, "%s does not let this user write to topic %q; grant it, or check spec.kafka.sasl", where, k.config.Topic)
	case errors.Is(err, kerr.UnknownTopicOrPartition), errors.Is(err, kerr.InvalidTopicException):
		return run.Refuse(ReasonUnreachable, "%s has no topic %q; make it, or correct spec.kafka.topic", where, k.config.Topic)
	case errors.As(err, &certificate):
		return run.Refuse(ReasonUnreachable, "%s has a certificate that is not trusted; name the authority's in spec.kafka.tls.caSecretRef", where)
	case errors.As(err, &dial) && dial.Op == "dial", errors.As(err, &resolve):
		return &UnavailableError{Unconnected: true, Err: fmt.Errorf("connecting to %s: %w; check that it runs and that spec.kafka.brokers is right", where, err)}
	case errors.Is(err, io.EOF):
		return &UnavailableError{Err: fmt.Errorf("%s closed the connection, as brokers do that shut down, and those that want another login or encryption; check spec.kafka.tls, spec.kafka.sasl and the Secret key that spec.kafka.sasl.passwordSecretRef names", where)}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, kgo.ErrRecordTimeout):
		return &UnavailableError{Err: fmt.Errorf("%s did not acknowledge within %s; look at the brokers' log, and whether spec.kafka.tls and spec.kafka.sasl are as they want them", where, kafkaDelivery)}
	}
	return &UnavailableError{Err: fmt.Errorf("%s: %w; look at the brokers' log", where, err)}
}
