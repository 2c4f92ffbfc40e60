package main

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"kohort.dev/kohort/internal/destination"
	"kohort.dev/kohort/internal/run"
)

// newDestination makes the destination that an order names.
func newDestination(order run.SyncOrder, flags syncFlags) (destination.Destination, error) {
	named := 0
	for _, is := range []bool{order.Webhook != nil, order.Table != nil, order.Segment != nil, order.Meta != nil, order.Google != nil, order.Files != nil, order.Kafka != nil, order.NATS != nil, order.Connector != nil} {
		if is {
			named++
		}
	}
	fields := slices.Sorted(maps.Keys(order.Traits))
	switch {
	case named != 1:
		return nil, run.Refuse(destination.ReasonInvalidSpec, "the order must name exactly one of webhook, table, segment, meta, google, files, kafka, nats and connector")
	case order.Webhook != nil:
		return destination.NewWebhook(destination.WebhookConfig{
			URL: order.Webhook.URL, TokenFile: flags.tokenFile, KeyFiles: flags.keyFiles,
			Audience: order.Audience, Sync: order.Sync, Run: fmt.Sprint(order.Slot.Unix()),
		})
	case order.Segment != nil:
		return destination.NewSegment(destination.SegmentConfig{
			URL: order.Segment.URL, Calls: order.Segment.Calls, KeyFile: flags.tokenFile,
			Audience: order.Audience, Sync: order.Sync, Platform: order.Platform,
		})
	case order.Meta != nil:
		return destination.NewMeta(destination.MetaConfig{
			URL: order.Meta.URL, Audience: order.Meta.Audience, TokenFile: flags.tokenFile, Fields: fields,
		})
	case order.Google != nil:
		return destination.NewGoogle(destination.GoogleConfig{Google: *order.Google, KeyFile: flags.tokenFile, Fields: fields})
	}
	telling := destination.Telling{Audience: order.Audience, Sync: order.Sync}
	switch {
	case order.Kafka != nil:
		return destination.NewKafka(destination.KafkaConfig{KafkaTarget: *order.Kafka, PasswordFile: flags.tokenFile, CAFile: flags.caFile, Telling: telling})
	case order.Connector != nil:
		secrets, err := secretFiles(flags.secrets)
		if err != nil {
			return nil, err
		}
		return destination.NewConnector(destination.ConnectorConfig{ConnectorTarget: *order.Connector, SecretFiles: secrets, Telling: telling})
	case order.NATS != nil:
		return destination.NewNATS(destination.NATSConfig{NATSTarget: *order.NATS, PasswordFile: flags.tokenFile, CredentialsFile: flags.tokenFile, Telling: telling})
	}
	if order.Files != nil {
		return destination.NewFiles(destination.FilesConfig{
			FileTarget: *order.Files, KeyIDFile: flags.s3KeyIDFile, SecretFile: flags.s3SecretFile,
			Audience: order.Audience, Slot: order.Slot, Now: time.Now,
		})
	}
	switch order.Table.Driver {
	case "postgres":
		return destination.NewPostgres(destination.PostgresConfig{DSNFile: flags.dsnFile, Table: order.Table.Name, Audience: order.Audience})
	case "mysql":
		return destination.NewMySQL(destination.MySQLConfig{DSNFile: flags.dsnFile, Table: order.Table.Name, Audience: order.Audience})
	}
	return nil, run.Refuse(destination.ReasonInvalidSpec, "spec.sql.driver %q of the Destination is not known; use postgres or mysql", order.Table.Driver)
}
