//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/test/demo/check"
	"kohort.dev/kohort/test/demo/population"
	"kohort.dev/kohort/test/demo/truth"
	"kohort.dev/kohort/test/demo/world"
)

// rounds of kills during one load.
const rounds = 10

// TestKills kills every part of a Platform, again and again and without warning, while events come in and audiences go
// out. Within a round one is killed before the others are back. SDKs try again what was not acknowledged, so in the end
// every event must be there once, profiles must be the truth's, and the destination must hold the members.
func TestKills(t *testing.T) {
	w := lab(t, "e2e-kills")
	w.Pace = 40 * time.Millisecond // some 1,700 requests of the website in 70 s; each kill makes it longer
	p, err := w.Found(t.Context(), population.Config{Seed: 3, Customers: 500, Clock: time.Now()})
	must(t, err)
	must(t, w.Install(t.Context()))
	must(t, w.StartJob(t.Context(), "web-traffic", "world/web-traffic.yaml"))
	must(t, w.StartJob(t.Context(), "app-traffic", "world/app-traffic.yaml"))

	const seed = 20261120
	t.Logf("moments are drawn from seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	victims := []victim{
		{"warehouse", platformPods("store"), "warehouse"},
		{"stream", platformPods("store"), "stream"},
		{"engine", platformPods("engine"), "engine"},
		{"collector", platformPods("collector"), "collector"},
	}
	during := 0 // kills of a sync that was running
	for round := range rounds {
		random.Shuffle(len(victims), func(i, j int) { victims[i], victims[j] = victims[j], victims[i] })
		var fallen []kill
		for _, v := range victims {
			time.Sleep(time.Duration(random.IntN(1500)) * time.Millisecond)
			fallen = append(fallen, strike(t, w, v))
		}
		awaitReturn(t, w, fallen)
		if killRunningSync(t, w, fmt.Sprintf("round-%d", round)) {
			during++
		}
	}
	t.Logf("%d rounds; a sync was killed while it ran in %d of them", rounds, during)
	if during < rounds/2 {
		t.Errorf("only %d of %d kills met a running sync: the rest show nothing", during, rounds)
	}

	for _, job := range []string{"web-traffic", "app-traffic"} {
		out, err := w.AwaitJob(t.Context(), job)
		must(t, err)
		t.Logf("%s: %s", job, out)
	}
	facts := truth.Of(p, time.Now())
	must(t, w.Settle(t.Context(), facts))
	stored := storedEvents(t, w)
	for source, events := range facts.Events {
		expectStored(t, stored, source, events)
	}
	lines, err := w.Lines(t.Context(), p)
	must(t, err)
	for _, line := range lines {
		// A sync that is killed between the destination's answer and its own note of it has to send the page again.
		if line.Wrong != "" && line.Name != check.SentForNothing {
			t.Errorf("%s: truth %d, Kohort %d: %s", line.Name, line.Truth, line.Kohort, line.Wrong)
		}
	}
}

// platformPods selects the pods of a component.
func platformPods(component string) string {
	return v1alpha1.PlatformLabel + "=shop," + v1alpha1.ComponentLabel + "=" + component
}

// killRunningSync asks a sync for a run and kills it as soon as its process is there. It says whether it met one: a run
// with nothing to send ends within a second and may get away, so it is asked for again.
func killRunningSync(t *testing.T, w world.World, request string) bool {
	t.Helper()
	if there, err := w.Kubectl.Exists(t.Context(), "sync", "vip-mailer"); err != nil || !there {
		return false
	}
	for attempt := range 4 {
		must(t, w.Kubectl.RunNow(t.Context(), "sync/vip-mailer", fmt.Sprintf("%s-%d", request, attempt)))
		if strikeSync(t.Context(), w, 10*time.Second) {
			return true
		}
	}
	return false
}

// strikeSync kills the sync's process as soon as there is one, and says whether there was.
func strikeSync(ctx context.Context, w world.World, patience time.Duration) bool {
	v := victim{"sync", v1alpha1.SyncLabel + "=vip-mailer", "sync"}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for ctx.Err() == nil {
		if ids, err := v.strike(ctx, w); err == nil && len(ids) > 0 {
			return true
		}
		time.Sleep(50 * time.Millisecond)
	}
	return false
}
