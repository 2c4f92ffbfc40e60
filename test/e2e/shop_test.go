//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"kohort.dev/kohort/test/demo/check"
	"kohort.dev/kohort/test/demo/population"
	"kohort.dev/kohort/test/demo/truth"
	"kohort.dev/kohort/test/demo/world"
)

// TestShop runs the demo's shop and then does to it what a person would.
func TestShop(t *testing.T) {
	w := lab(t, "e2e-shop")
	p, err := w.Found(t.Context(), population.Config{Seed: 2, Customers: 600, Clock: time.Now()})
	must(t, err)
	must(t, w.Install(t.Context()))
	must(t, w.Traffic(t.Context()))
	must(t, w.Settle(t.Context(), truth.Of(p, time.Now())))
	must(t, w.Retain(t.Context()))
	sendNowhere(t, w)

	// Each part goes on where the one before it ended, so a failed one ends the test.
	for _, part := range []struct {
		name string
		run  func(*testing.T, world.World, *population.Population)
	}{
		{"the numbers agree with the truth", numbersAgree},
		{"a second run of the sync sends nothing", secondRunSendsNothing},
		{"an event that is sent again counts once", resentTrafficCountsOnce},
		{"an edit of the YAML changes the receiver", editChangesReceiver},
		{"deleting the Audience removes its members first", deletionRemovesMembers},
		{"the commands work", commandsWork},
		{"nothing runs as root or holds a token that it does not need", podsAreRestricted},
		{"what is wrong tells a person", wrongThingsTell},
	} {
		if !t.Run(part.name, func(t *testing.T) { part.run(t, w, p) }) {
			return
		}
	}
}

func numbersAgree(t *testing.T, w world.World, p *population.Population) {
	lines, err := w.Lines(t.Context(), p)
	must(t, err)
	for _, line := range lines {
		t.Logf("%+v", line)
	}
	if !check.Agree(lines) {
		t.Fatal("the numbers do not agree with the truth")
	}
}

func secondRunSendsNothing(t *testing.T, w world.World, _ *population.Population) {
	before, err := check.Mailer(t.Context(), w.Kubectl, truth.VIP)
	must(t, err)
	first, err := sync(t.Context(), w, "vip-mailer")
	must(t, err)
	must(t, w.Deliver(t.Context(), "vip-mailer", "vip-marketing"))
	for _, name := range []string{"vip-mailer", "vip-marketing"} {
		s, err := sync(t.Context(), w, name)
		must(t, err)
		if run := s.Status.LastRun; run.Added+run.Updated+run.Removed+run.Rejected != 0 {
			t.Errorf("%s: the second run is %+v, want nothing sent", name, run)
		}
		if name == "vip-mailer" && s.Status.LastRun.Name == first.Status.LastRun.Name {
			t.Errorf("%s: no second run took place", name)
		}
	}
	after, err := check.Mailer(t.Context(), w.Kubectl, truth.VIP)
	must(t, err)
	if after.Requests != before.Requests {
		t.Errorf("the mailer saw %d requests before and %d after", before.Requests, after.Requests)
	}
}

// resentTrafficCountsOnce sends the whole history again, as SDKs do that never saw the answer.
func resentTrafficCountsOnce(t *testing.T, w world.World, p *population.Population) {
	must(t, w.Traffic(t.Context()))
	time.Sleep(5 * time.Second) // the engine takes them from the stream; that nothing changes cannot be waited for
	numbersAgree(t, w, p)
}

func editChangesReceiver(t *testing.T, w world.World, p *population.Population) {
	want := truth.Buyers(p, time.Now(), 5)
	all := truth.Of(p, time.Now()).Audiences[truth.VIP]
	if len(want) == 0 || len(want) == len(all) {
		t.Fatalf("%d of %d vips have 5 orders: the edit would show nothing", len(want), len(all))
	}
	edit(t, w, "40-audience-vip.yaml", "min: 3", "min: 5")
	awaitMailer(t, w, truth.VIP, want)
	edit(t, w, "40-audience-vip.yaml", "min: 3", "min: 3")
	awaitMailer(t, w, truth.VIP, all)

	audience, err := check.Mailer(t.Context(), w.Kubectl, truth.VIP)
	must(t, err)
	if left := len(all) - len(want); audience.Removes != left || audience.Upserts != len(all)+left || audience.Redundant != 0 {
		t.Errorf("the mailer took out %d, put in %d, %d of them for nothing; want %d out, %d in and none for nothing",
			audience.Removes, audience.Upserts, audience.Redundant, left, len(all)+left)
	}
}

// awaitMailer waits until the mail tool holds exactly these members.
func awaitMailer(t *testing.T, w world.World, audience string, want []string) {
	t.Helper()
	await(t, 2*time.Minute, func(ctx context.Context) (string, error) {
		held, err := mailed(ctx, w, audience)
		if err != nil {
			return "", err
		}
		if !slices.Equal(held, want) {
			return fmt.Sprintf("the mailer holds %d members of %s, want %d", len(held), audience, len(want)), nil
		}
		return "", nil
	})
}

// mailed lists the userIds that the mail tool holds, sorted.
func mailed(ctx context.Context, w world.World, audience string) ([]string, error) {
	held, err := check.Mailer(ctx, w.Kubectl, audience)
	if err != nil {
		return nil, err
	}
	var users []string
	for _, member := range held.Members {
		users = append(users, member.Identifiers["userId"]...)
	}
	slices.Sort(users)
	return users, nil
}

func deletionRemovesMembers(t *testing.T, w world.World, _ *population.Population) {
	before, err := check.Mailer(t.Context(), w.Kubectl, truth.Winback)
	must(t, err)
	if before.Count == 0 {
		t.Fatal("the mailer holds nobody of winback: the deletion would show nothing")
	}
	// kubectl returns as soon as the object is gone, so whoever is left at the mailer then was left behind.
	_, err = w.Kubectl.Run(t.Context(), "delete", "audience", truth.Winback, "--timeout=2m")
	must(t, err)
	after, err := check.Mailer(t.Context(), w.Kubectl, truth.Winback)
	must(t, err)
	if after.Count != 0 || after.Removes != before.Removes+before.Count {
		t.Errorf("the mailer held %d members, took out %d, and holds %d", before.Count, after.Removes-before.Removes, after.Count)
	}
	if there, err := w.Kubectl.Exists(t.Context(), "sync", "winback-mailer"); err != nil || there {
		t.Errorf("the Sync is still there (%v)", err)
	}
}
