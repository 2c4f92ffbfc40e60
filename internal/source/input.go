package source

import (
	"errors"
	"net/url"

	"kohort.dev/kohort/internal/bento"
	"kohort.dev/kohort/internal/run"
)

// Secrets that orders name by these words.
const (
	secretKafkaPassword   = "KAFKA_PASSWORD"
	secretKafkaCA         = "KAFKA_CA"
	secretNATSPassword    = "NATS_PASSWORD"
	secretNATSCredentials = "NATS_CREDENTIALS"
)

// Batches of messages that are published and acknowledged together. The last says how long the first may wait for more.
const (
	messagesAtOnce     = 500
	messageBytesAtOnce = 1 << 20
	messagePatience    = "100ms"
	// messagesUnacknowledged of a consumer of NATS, at most.
	messagesUnacknowledged = 4 * messagesAtOnce
)

// Secrets gives what the Secrets of a Source hold, by name.
type Secrets interface {
	// Value fails when there is no such secret.
	Value(name string) (string, error)
	// File is where it stands.
	File(name string) (string, error)
}

// inputConfig is the configuration of Bento's input that reads what an order names, as JSON, with its secrets.
func inputConfig(order run.ListenOrder, secrets Secrets) (string, error) {
	var input any
	var err error
	switch {
	case order.Kafka != nil:
		input, err = kafkaInput(*order.Kafka, secrets)
	case order.NATS != nil:
		input, err = natsInput(*order.NATS, secrets)
	case order.Connector != nil:
		input, err = connectorInput(*order.Connector, secrets)
	default:
		return "", run.Refuse(reasonRunFailed, "the order names neither kafka nor nats nor connector")
	}
	if err != nil {
		return "", err
	}
	return bento.Encode(map[string]any{"broker": map[string]any{
		"inputs":   []any{input},
		"batching": map[string]any{"count": messagesAtOnce, "byte_size": messageBytesAtOnce, "period": messagePatience},
	}})
}

func kafkaInput(k run.Kafka, secrets Secrets) (any, error) {
	franz := map[string]any{
		"seed_brokers": k.Brokers, "topics": k.Topics, "consumer_group": k.ConsumerGroup,
		"start_from_oldest": !k.Latest, "checkpoint_limit": messagesUnacknowledged, "commit_period": "1s",
		"reconnect_on_unknown_topic_or_partition": true,
	}
	if k.TLS {
		tls := map[string]any{"enabled": true}
		if k.CA {
			ca, err := secrets.Value(secretKafkaCA)
			if err != nil {
				return nil, err
			}
			tls["root_cas"] = ca
		}
		franz["tls"] = tls
	}
	if k.Mechanism != "" {
		password, err := secrets.Value(secretKafkaPassword)
		if err != nil {
			return nil, err
		}
		franz["sasl"] = []any{map[string]any{"mechanism": k.Mechanism, "username": k.User, "password": password}}
	}
	return map[string]any{"kafka_franz": franz}, nil
}

func natsInput(n run.NATS, secrets Secrets) (any, error) {
	deliver := "all"
	if n.Latest {
		deliver = "new"
	}
	urls := n.URLs
	if n.User != "" {
		password, err := secrets.Value(secretNATSPassword)
		if err != nil {
			return nil, err
		}
		urls = nil
		for _, text := range n.URLs {
			parsed, err := url.Parse(text)
			if err != nil {
				return nil, run.Refuse(reasonInvalidSpec, "spec.nats.urls: %q is not a URL such as nats://host:4222", text)
			}
			parsed.User = url.UserPassword(n.User, password)
			urls = append(urls, parsed.String())
		}
	}
	jetstream := map[string]any{
		"urls": urls, "stream": n.Stream, "durable": n.Durable, "deliver": deliver,
		"max_ack_pending": messagesUnacknowledged, "ack_wait": "60s",
	}
	if n.Subject != "" {
		jetstream["subject"] = n.Subject
	}
	if n.Credentials {
		file, err := secrets.File(secretNATSCredentials)
		if err != nil {
			return nil, err
		}
		jetstream["auth"] = map[string]any{"user_credentials_file": file}
	}
	return map[string]any{"nats_jetstream": jetstream}, nil
}

func connectorInput(c run.Connector, secrets Secrets) (any, error) {
	input, err := bento.Filled(c.Input, secrets.Value)
	var failure *run.Failure
	if err != nil && !errors.As(err, &failure) {
		return nil, run.Refuse(reasonInvalidSpec, "spec.connector.input %w", err)
	}
	return input, err
}
