package engine

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"kohort.dev/kohort/api/v1alpha1"
)

// watch makes users do what the guarded audience asks for, and waits until it is stored.
func watch(t *testing.T, p *place, users ...string) {
	t.Helper()
	var before, n uint64
	const stored = "SELECT count() FROM events WHERE event = 'Watched'"
	if err := p.conn().QueryRow(t.Context(), stored).Scan(&before); err != nil {
		t.Fatal(err)
	}
	for _, user := range users {
		p.send(time.Now(), fmt.Sprintf(`{"type":"track","event":"Watched","messageId":"watch-%[1]s","userId":"%[1]s"}`, user))
	}
	p.eventually("stored", 20*time.Second, func() error {
		err := p.conn().QueryRow(t.Context(), stored).Scan(&n)
		if err == nil && n != before+uint64(len(users)) {
			err = fmt.Errorf("%d events", n)
		}
		return err
	})
}

// approve lets the change of an Audience through that is kept back, as kubectl annotate does.
func approve(t *testing.T, p *place, name string) {
	t.Helper()
	edit(p, &v1alpha1.Audience{}, name, func(a *v1alpha1.Audience) {
		if a.Status.Held == nil {
			t.Fatalf("nothing of %s is kept back: %+v", name, a.Status)
		}
		a.Annotations = map[string]string{v1alpha1.ApproveAnnotation: a.Status.Held.Token}
	})
}

func guarding(t *testing.T, p *place) {
	watch(t, p, "w1", "w2")
	guarded := audienceNamed("guarded", did("Watched"))
	guarded.Spec.Guard = &v1alpha1.Guard{MaxChangePercent: 10, MinChange: new(int64(0))}
	p.create(guarded)
	p.until("the first evaluation is not kept back", &v1alpha1.Audience{}, "guarded", `"size":2`, `"reason":"Evaluated"`)

	watch(t, p, "w3")
	requestNow(p, "guarded", "now")
	p.until("one of two is more than 10 %", &v1alpha1.Audience{}, "guarded", `"size":2`, `"revision":1`, `"type":"Evaluated","status":"False"`, `"reason":"ChangeTooLarge"`,
		`1 would enter and 0 would leave an audience of 2, and spec.guard.maxChangePercent is 10`, `"held":{"token":"2-`, `"entering":1,"leaving":0`)
	if status, body := p.get(p.config.HealthListen, "/metrics", ""); status != http.StatusOK || !strings.Contains(body, `kohort_audience_held_changes{audience="guarded"} 1`) {
		t.Errorf("status %d: the metrics do not tell of it", status)
	}
	// Another definition is another change; the destinations must not be told that its members are there.
	edit(p, &v1alpha1.Audience{}, "guarded", func(a *v1alpha1.Audience) {
		a.Spec.Criteria[0].Event.Count = &v1alpha1.Count{Min: new(int64(1))}
	})
	p.until("the edit is kept back", &v1alpha1.Audience{}, "guarded", `"evaluatedGeneration":1`, `"type":"Evaluated","status":"False","observedGeneration":2`, `"reason":"ChangeTooLarge"`)
	p.stop()
	p.start()
	p.eventually("ready", 30*time.Second, p.ready)
	watch(t, p, "w4", "w5")
	approve(t, p, "guarded")
	p.until("what was approved is published, and what came since is kept back", &v1alpha1.Audience{}, "guarded",
		`"size":3`, `"revision":2`, `"evaluatedGeneration":2`, `"held":{"token":"3-`, `"entering":2,"leaving":0`, `which is another change`)
	approve(t, p, "guarded")
	p.until("all is published", &v1alpha1.Audience{}, "guarded", `"size":5`, `"revision":3`, `"reason":"Evaluated"`)
	var a v1alpha1.Audience
	if err := p.k8s.Get(t.Context(), client.ObjectKeyFromObject(guarded), &a); err != nil || a.Status.Held != nil {
		t.Errorf("kept back: %+v, %v", a.Status.Held, err)
	}
}

// rollingBack goes on with the audience of guarding: revision 1 has two members, 2 has three, 3 has five.
func rollingBack(t *testing.T, p *place) {
	back := func(value string) {
		edit(p, &v1alpha1.Audience{}, "guarded", func(a *v1alpha1.Audience) {
			a.Annotations = map[string]string{v1alpha1.RollbackAnnotation: value}
		})
	}
	back("9")
	p.until("no such revision", &v1alpha1.Audience{}, "guarded", `"size":5`, `"reason":"RevisionNotFound"`, `metadata.annotations[kohort.dev/rollback-to]: there is no revision 9`, `1 to 3 can be brought back`)
	back("two")
	p.until("no revision", &v1alpha1.Audience{}, "guarded", `"reason":"RevisionNotFound"`, `\"two\" is not the number of a revision`)
	back("1")
	p.until("the two of the beginning, whatever the guard says", &v1alpha1.Audience{}, "guarded", `"size":2`, `"revision":4`, `"rolledBackTo":1`, `"type":"Evaluated","status":"False"`, `"reason":"RolledBack"`)
	for _, table := range []string{"audience_revisions (audience, revision, at)", "membership_log (audience, revision, at)"} {
		if err := p.conn().Exec(t.Context(), "INSERT INTO "+table+" SELECT 'ancient', number, now() - toIntervalDay(60 - number) FROM numbers(1, 2)"); err != nil {
			t.Fatal(err)
		}
	}
	// Neither a new process nor an edit evaluates the rule; the edit counts as seen, for the destinations.
	p.stop()
	p.start()
	p.eventually("ready", 30*time.Second, p.ready)
	edit(p, &v1alpha1.Audience{}, "guarded", func(a *v1alpha1.Audience) { a.Spec.Guard = nil })
	p.until("held", &v1alpha1.Audience{}, "guarded", `"size":2`, `"revision":4`, `"rolledBackTo":1`, `"evaluatedGeneration":3`, `"reason":"RolledBack"`)
	p.eventually("what is older than the history goes", 20*time.Second, func() error {
		var left string
		err := p.conn().QueryRow(t.Context(), "SELECT toString(((SELECT groupArray(revision) FROM audience_revisions WHERE audience = 'ancient'), (SELECT count() FROM membership_log WHERE audience = 'ancient')))").Scan(&left)
		if err == nil && left != "([2],0)" {
			err = fmt.Errorf("left are %s", left)
		}
		return err
	})
	edit(p, &v1alpha1.Audience{}, "guarded", func(a *v1alpha1.Audience) { a.Annotations = nil })
	p.until("evaluated again", &v1alpha1.Audience{}, "guarded", `"size":5`, `"revision":5`, `"reason":"Evaluated"`)
	var a v1alpha1.Audience
	if err := p.k8s.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "guarded"}, &a); err != nil || a.Status.RolledBackTo != nil {
		t.Errorf("rolled back to %v, %v", a.Status.RolledBackTo, err)
	}
}
