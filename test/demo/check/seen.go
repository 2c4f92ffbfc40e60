// Package check compares what Kohort shows, through kubectl and at its destinations, with the truth about the demo's shop.
package check

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/test/demo/kubectl"
	"kohort.dev/kohort/test/demo/receiver"
)

// Seen is what a person sees of the demo.
type Seen struct {
	Profiles int
	Events   int
	// Accepted events by Source.
	Accepted map[string]int
	// Sizes of Audiences.
	Sizes map[string]int
	// Mailer and Marketing hold members of audiences, by userId, sorted.
	Mailer, Marketing map[string][]string
	// Redundant operations that the mailer was sent.
	Redundant int
	// Deleted events, as the retention policy counts them, and those that it should have deleted and has not. Without
	// a policy both are 0 and Enforced is false.
	Deleted, Overdue int
	Enforced         bool
}

// Mailer and marketing audiences: what the manifests send where.
func mailerAudiences() []string { return []string{"vip", "winback"} }

// See reads everything.
func See(ctx context.Context, k kubectl.Kubectl) (Seen, error) {
	s := Seen{Accepted: map[string]int{}, Sizes: map[string]int{}, Mailer: map[string][]string{}, Marketing: map[string][]string{}}
	for _, read := range []func(context.Context, kubectl.Kubectl, *Seen) error{seeStatus, seeRetention, seeMailer, seeMarketing} {
		if err := read(ctx, k, &s); err != nil {
			return Seen{}, err
		}
	}
	return s, nil
}

func seeStatus(ctx context.Context, k kubectl.Kubectl, s *Seen) error {
	var platform v1alpha1.Platform
	if err := k.Get(ctx, "platform", "shop", &platform); err != nil {
		return err
	}
	s.Profiles, s.Events = number(platform.Status.Profiles), number(platform.Status.Events)
	var sources v1alpha1.SourceList
	if err := k.List(ctx, "sources", "", &sources); err != nil {
		return err
	}
	for _, source := range sources.Items {
		s.Accepted[source.Name] = number(source.Status.Accepted)
	}
	var audiences v1alpha1.AudienceList
	if err := k.List(ctx, "audiences", "", &audiences); err != nil {
		return err
	}
	for _, audience := range audiences.Items {
		s.Sizes[audience.Name] = number(audience.Status.Size)
	}
	return nil
}

func seeRetention(ctx context.Context, k kubectl.Kubectl, s *Seen) error {
	there, err := k.Exists(ctx, "retentionpolicy", "one-year")
	if err != nil || !there {
		return err
	}
	var policy v1alpha1.RetentionPolicy
	if err := k.Get(ctx, "retentionpolicy", "one-year", &policy); err != nil {
		return err
	}
	s.Deleted, s.Overdue = int(policy.Status.Deleted["events"]), number(policy.Status.Overdue)
	s.Enforced = policy.Status.Enforced != nil
	return nil
}

func seeMailer(ctx context.Context, k kubectl.Kubectl, s *Seen) error {
	for _, name := range mailerAudiences() {
		audience, err := Mailer(ctx, k, name)
		if err != nil {
			return err
		}
		for _, member := range audience.Members {
			s.Mailer[name] = append(s.Mailer[name], member.Identifiers["userId"]...)
		}
		slices.Sort(s.Mailer[name])
		s.Redundant += audience.Redundant
	}
	return nil
}

// Mailer asks the mail tool what it holds of an audience.
func Mailer(ctx context.Context, k kubectl.Kubectl, name string) (receiver.Audience, error) {
	var audience receiver.Audience
	out, err := k.Fetch(ctx, "mailer:80", "/audiences/"+name)
	if err != nil {
		return audience, err
	}
	if err := json.Unmarshal([]byte(out), &audience); err != nil {
		return audience, fmt.Errorf("reading what the mailer holds of %s: %w", name, err)
	}
	return audience, nil
}

func seeMarketing(ctx context.Context, k kubectl.Kubectl, s *Seen) error {
	return Database(ctx, k, func(conn *pgx.Conn) error {
		var there bool
		if err := conn.QueryRow(ctx, `SELECT to_regclass('marketing.audience_members') IS NOT NULL`).Scan(&there); err != nil || !there {
			return err
		}
		rows, err := conn.Query(ctx, `
			SELECT audience, jsonb_array_elements_text(identifiers->'userId')
			FROM marketing.audience_members`)
		if err != nil {
			return err
		}
		var audience, user string
		_, err = pgx.ForEachRow(rows, []any{&audience, &user}, func() error {
			s.Marketing[audience] = append(s.Marketing[audience], user)
			return nil
		})
		for _, members := range s.Marketing {
			slices.Sort(members)
		}
		return err
	})
}

// Database opens the shop's database for a while, through the API server.
func Database(ctx context.Context, k kubectl.Kubectl, use func(*pgx.Conn) error) error {
	dsn, err := k.Secret(ctx, "database", "dsn")
	if err != nil {
		return err
	}
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return fmt.Errorf("reading the database's connection string: %w", err)
	}
	address, stop, err := k.Forward(ctx, "service/database", 5432)
	if err != nil {
		return err
	}
	defer stop()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("reading the forwarded address: %w", err)
	}
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return fmt.Errorf("reading the forwarded port: %w", err)
	}
	config.Host, config.Port, config.Fallbacks = host, uint16(p), nil
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("connecting to the shop's database: %w", err)
	}
	defer func() { _ = conn.Close(ctx) }() // it was only read from, or committed
	if err := use(conn); err != nil {
		return fmt.Errorf("asking the shop's database: %w", err)
	}
	return nil
}

func number(n *int64) int {
	if n == nil {
		return 0
	}
	return int(*n)
}
