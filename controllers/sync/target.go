package sync

import (
	"strings"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/internal/workload"
	"kohort.dev/kohort/controllers/source"
	"kohort.dev/kohort/internal/run"
)

// setTarget puts into an order where the members go.
func setTarget(order *run.SyncOrder, d v1alpha1.DestinationSpec) {
	switch {
	case d.Webhook != nil:
		order.Webhook = &run.Webhook{URL: d.Webhook.URL}
	case d.SQL != nil:
		order.Table = &run.Table{Driver: d.SQL.Driver, Name: d.SQL.Table}
	case d.Segment != nil:
		order.Segment = &run.Segment{URL: d.Segment.URL}
		for _, call := range d.Segment.Calls {
			order.Segment.Calls = append(order.Segment.Calls, string(call))
		}
	case d.MetaCustomAudience != nil:
		m := d.MetaCustomAudience
		order.Meta = &run.Meta{URL: strings.TrimRight(m.URL, "/") + "/" + m.APIVersion, Audience: m.AudienceID}
	case d.GoogleCustomerMatch != nil:
		g := d.GoogleCustomerMatch
		order.Google = &run.Google{
			URL: g.URL, Account: googleAccount(g.Account), Audience: g.AudienceID,
			AdUserData: g.Consent.AdUserData == "Granted", AdPersonalization: g.Consent.AdPersonalization == "Granted",
		}
		if g.LoginAccount != nil {
			login := googleAccount(*g.LoginAccount)
			order.Google.Login = &login
		}
	case d.Files != nil:
		order.Files = files(d.Files)
	case d.Kafka != nil:
		order.Kafka = kafka(d.Kafka)
	case d.NATS != nil:
		n := d.NATS
		order.NATS = &run.NATSTarget{URLs: n.URLs, Subject: n.Subject, User: n.Username, Credentials: n.CredentialsSecretRef != nil}
	case d.Connector != nil:
		order.Connector = &run.ConnectorTarget{Output: d.Connector.Output.Raw}
	}
}

func googleAccount(a v1alpha1.GoogleAccount) run.GoogleAccount {
	return run.GoogleAccount{Type: string(a.Type), ID: a.ID}
}

func files(f *v1alpha1.FilesDestination) *run.FileTarget {
	out := &run.FileTarget{URL: f.URL, Format: string(f.Format)}
	if f.ClaimRef != nil {
		out.Root = workload.DataDirectory
	}
	if f.S3 != nil {
		out.S3 = &run.S3{Endpoint: f.S3.Endpoint, Region: f.S3.Region, PathStyle: f.S3.PathStyle, Keys: f.S3.AccessKeyIDSecretRef != nil}
	}
	return out
}

func kafka(k *v1alpha1.KafkaDestination) *run.KafkaTarget {
	out := &run.KafkaTarget{Brokers: k.Brokers, Topic: k.Topic, TLS: k.TLS != nil, CA: k.TLS != nil && k.TLS.CASecretRef != nil}
	if k.SASL != nil {
		out.Mechanism, out.User = source.Mechanism(k.SASL.Mechanism), k.SASL.Username
	}
	return out
}
