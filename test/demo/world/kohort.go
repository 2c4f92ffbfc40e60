package world

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/test/demo/check"
	"kohort.dev/kohort/test/demo/population"
	"kohort.dev/kohort/test/demo/truth"
)

// settleTime is how long the pipeline may take until everything sent has arrived everywhere: ingestion takes seconds, an
// audience's evaluation comes every 15 s, and each run of a sync is a pod that has to start.
const settleTime = 4 * time.Minute

// Install applies Kohort's resources, all but the retention policy, and waits until events can come.
func (w World) Install(ctx context.Context) error {
	for _, step := range []struct{ say, files string }{
		{"applying the Platform", "1*.yaml"},
		{"applying four Sources: web, app, crm and support", "2*.yaml"},
		{"applying two Destinations: a webhook and a table", "3*.yaml"},
		{"applying three Audiences: vip, lapsed and winback", "4*.yaml"},
	} {
		w.Say("%s", step.say)
		if err := w.Apply(ctx, step.files); err != nil {
			return err
		}
	}
	w.Say("waiting for kubectl wait --for=condition=Ready platform/shop source/web source/app")
	return w.Kubectl.Wait(ctx, "condition=Ready", startTime, "platform/shop", "source/web", "source/app")
}

// Settle waits until everything that was sent is stored and every audience has its members, and then lets the syncs
// deliver. It returns an error that says what is missing.
func (w World) Settle(ctx context.Context, t truth.Truth) error {
	stored, err := w.stored(ctx, t)
	if err != nil {
		return err
	}
	w.Say("waiting for %d events", truth.Sum(stored))
	if err := Until(ctx, settleTime, func(ctx context.Context) (string, error) { return w.missingEvents(ctx, stored) }); err != nil {
		return fmt.Errorf("waiting for events: %w", err)
	}
	w.Say("waiting for the audiences")
	if err := Until(ctx, settleTime, func(ctx context.Context) (string, error) { return w.missingMembers(ctx, t) }); err != nil {
		return fmt.Errorf("waiting for audiences: %w", err)
	}
	w.Say("letting the syncs deliver")
	return w.Deliver(ctx, "vip-mailer", "vip-marketing", "winback-mailer")
}

// stored is how many events of each Source there are once everything has arrived: all of them, or, where the retention
// policy is in force already, those that it keeps.
func (w World) stored(ctx context.Context, t truth.Truth) (map[string]int, error) {
	retained, err := w.Kubectl.Exists(ctx, "retentionpolicy", "one-year")
	if err != nil || !retained {
		return t.Events, err
	}
	kept := map[string]int{}
	for source := range t.Events {
		kept[source] = t.Kept(source)
	}
	return kept, nil
}

// missingEvents says which Sources have not stored what was sent.
func (w World) missingEvents(ctx context.Context, stored map[string]int) (string, error) {
	var sources v1alpha1.SourceList
	if err := w.Kubectl.List(ctx, "sources", "", &sources); err != nil {
		return "", err
	}
	var missing []string
	for _, source := range sources.Items {
		accepted := int64(0)
		if source.Status.Accepted != nil {
			accepted = *source.Status.Accepted
		}
		if want := int64(stored[source.Name]); accepted != want {
			missing = append(missing, fmt.Sprintf("source %s has %d of %d events", source.Name, accepted, want))
		}
	}
	return strings.Join(missing, ", "), nil
}

// missingMembers says which audiences have another size than they should.
func (w World) missingMembers(ctx context.Context, t truth.Truth) (string, error) {
	var audiences v1alpha1.AudienceList
	if err := w.Kubectl.List(ctx, "audiences", "", &audiences); err != nil {
		return "", err
	}
	var missing []string
	for _, audience := range audiences.Items {
		members, known := t.Audiences[audience.Name]
		if size := audience.Status.Size; known && (size == nil || int(*size) != len(members)) {
			missing = append(missing, fmt.Sprintf("audience %s has %s of %d members", audience.Name, pointed(size), len(members)))
		}
	}
	return strings.Join(missing, ", "), nil
}

func pointed(n *int64) string {
	if n == nil {
		return "no"
	}
	return strconv.FormatInt(*n, 10)
}

// Deliver asks Syncs for a run now and waits until each has finished it well.
func (w World) Deliver(ctx context.Context, syncs ...string) error {
	request := strconv.FormatInt(w.Now().Unix(), 10)
	for _, sync := range syncs {
		if err := w.Kubectl.RunNow(ctx, "sync/"+sync, request); err != nil {
			return err
		}
	}
	for _, sync := range syncs {
		if err := Until(ctx, settleTime, func(ctx context.Context) (string, error) { return w.missingRun(ctx, sync, request) }); err != nil {
			return fmt.Errorf("waiting for a run of sync %s: %w", sync, err)
		}
	}
	return nil
}

// missingRun says what a Sync still owes to a request.
func (w World) missingRun(ctx context.Context, name, request string) (string, error) {
	var sync v1alpha1.Sync
	if err := w.Kubectl.Get(ctx, "sync", name, &sync); err != nil {
		return "", err
	}
	run := sync.Status.LastRun
	switch {
	case sync.Status.LastHandledRequest != request || run == nil:
		return "the request has not been handled", nil
	case run.Result != v1alpha1.RunSucceeded:
		return fmt.Sprintf("its run is %s: %s %s", run.Result, run.Reason, run.Message), nil
	}
	return "", nil
}

// Retain applies the retention policy and waits until nothing is overdue.
func (w World) Retain(ctx context.Context) error {
	w.Say("applying the RetentionPolicy one-year")
	if err := w.Apply(ctx, "5*.yaml"); err != nil {
		return err
	}
	if err := w.Kubectl.Wait(ctx, "condition=Ready", startTime, "retentionpolicy/one-year"); err != nil {
		return err
	}
	var policy v1alpha1.RetentionPolicy
	if err := w.Kubectl.Get(ctx, "retentionpolicy", "one-year", &policy); err != nil {
		return err
	}
	w.Say("  it has deleted %d events", policy.Status.Deleted["events"])
	return nil
}

// Lines compares what is seen with the truth of this moment, again and again until all agrees or half a minute has passed,
// for the engine counts every few seconds. It returns the newest comparison, whether it agrees or not.
func (w World) Lines(ctx context.Context, p *population.Population) ([]check.Line, error) {
	var lines []check.Line
	err := Until(ctx, 30*time.Second, func(ctx context.Context) (string, error) {
		seen, err := check.See(ctx, w.Kubectl)
		if err != nil {
			return "", err
		}
		lines = check.Compare(truth.Of(p, w.Now()), seen)
		if !check.Agree(lines) {
			return "the numbers do not agree", nil
		}
		return "", nil
	})
	if lines == nil && err != nil {
		return nil, fmt.Errorf("comparing with the truth: %w", err)
	}
	return lines, nil
}
