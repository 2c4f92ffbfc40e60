package sync

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/internal/facts"
	"kohort.dev/kohort/controllers/internal/golden"
	"kohort.dev/kohort/controllers/internal/podsecurity"
	"kohort.dev/kohort/controllers/internal/runs"
	"kohort.dev/kohort/controllers/internal/workload"
	"kohort.dev/kohort/internal/run"
)

var (
	images = workload.Images{Kohort: "kohort:1", Connector: "connector:1", Store: "store:1"}
	noon   = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	start  = runs.Start{Name: "vip-mailer-1764000000", Slot: time.Unix(1764000000, 0)}
)

func vip(change ...func(*v1alpha1.Sync)) *v1alpha1.Sync {
	s := &v1alpha1.Sync{ObjectMeta: metav1.ObjectMeta{Name: "vip-mailer", Namespace: "team", Generation: 1}, Spec: v1alpha1.SyncSpec{
		PlatformRef: v1alpha1.LocalReference{Name: "shop"}, AudienceRef: v1alpha1.LocalReference{Name: "vip"}, DestinationRef: v1alpha1.LocalReference{Name: "mailer"},
		Mode: v1alpha1.SyncMirror, Schedule: "15m", Identifiers: []string{"email"}, Traits: map[string]string{"plan": "plan"}, DeletionPolicy: v1alpha1.DeletionRemove,
	}}
	for _, f := range change {
		f(s)
	}
	return s
}

func mailer() *v1alpha1.Destination {
	return &v1alpha1.Destination{ObjectMeta: metav1.ObjectMeta{Name: "mailer", Generation: 1}, Spec: v1alpha1.DestinationSpec{
		PlatformRef: v1alpha1.LocalReference{Name: "shop"},
		Webhook:     &v1alpha1.WebhookDestination{URL: "https://mail.test", TokenSecretRef: &v1alpha1.SecretKeyReference{Name: "mail", Key: "token"}},
	}}
}

func signed() *v1alpha1.Destination {
	d := mailer()
	d.Spec.Webhook.SigningKeySecretRefs = []v1alpha1.SecretKeyReference{{Name: "mail", Key: "old"}, {Name: "mail", Key: "new"}}
	return d
}

func table() *v1alpha1.Destination {
	return &v1alpha1.Destination{ObjectMeta: metav1.ObjectMeta{Name: "mailer"}, Spec: v1alpha1.DestinationSpec{
		PlatformRef: v1alpha1.LocalReference{Name: "shop"},
		SQL:         &v1alpha1.SQLDestination{Driver: "postgres", DSNSecretRef: v1alpha1.SecretKeyReference{Name: "db", Key: "dsn"}, Table: "crm.members"},
	}}
}

func claim() *v1alpha1.Destination {
	d := mailer()
	d.Spec.Webhook, d.Spec.Files = nil, &v1alpha1.FilesDestination{URL: "file:///out", ClaimRef: &v1alpha1.LocalReference{Name: "exports"}, Format: v1alpha1.FormatCSV}
	return d
}

func bucket() *v1alpha1.Destination {
	d := mailer()
	d.Spec.Webhook, d.Spec.Files = nil, &v1alpha1.FilesDestination{URL: "s3://lists/out", Format: v1alpha1.FormatParquet, S3: &v1alpha1.S3Storage{
		Endpoint: "https://s3.test", AccessKeyIDSecretRef: &v1alpha1.SecretKeyReference{Name: "s3", Key: "id"}, SecretAccessKeySecretRef: &v1alpha1.SecretKeyReference{Name: "s3", Key: "secret"},
	}}
	return d
}

func topic() *v1alpha1.Destination {
	d := mailer()
	d.Spec.Webhook, d.Spec.Kafka = nil, &v1alpha1.KafkaDestination{Brokers: []string{"kafka.test:9093"}, Topic: "members",
		TLS:  &v1alpha1.KafkaTLS{CASecretRef: &v1alpha1.SecretKeyReference{Name: "kafka", Key: "ca.crt"}},
		SASL: &v1alpha1.KafkaSASL{Mechanism: "ScramSHA512", Username: "kohort", PasswordSecretRef: v1alpha1.SecretKeyReference{Name: "kafka", Key: "password"}},
	}
	return d
}

func subject() *v1alpha1.Destination {
	d := mailer()
	d.Spec.Webhook, d.Spec.NATS = nil, &v1alpha1.NATSDestination{URLs: []string{"tls://nats.test:4222"}, Subject: "members.vip", CredentialsSecretRef: &v1alpha1.SecretKeyReference{Name: "nats", Key: "creds"}}
	return d
}

func output() *v1alpha1.Destination {
	d := mailer()
	d.Spec.Webhook, d.Spec.Connector = nil, &v1alpha1.ConnectorDestination{
		Output:     apiextensionsv1.JSON{Raw: []byte(`{"mqtt":{"urls":["ssl://mqtt.test:8883"],"topic":"t","password":"${PASSWORD}"}}`)},
		SecretRefs: []v1alpha1.NamedSecret{{Name: "PASSWORD", SecretRef: v1alpha1.SecretKeyReference{Name: "mqtt", Key: "password"}}},
	}
	return d
}

// evaluated are the facts of a Sync that nothing is missing for.
func evaluated(d *v1alpha1.Destination) Facts {
	generation := int64(4)
	a := &v1alpha1.Audience{ObjectMeta: metav1.ObjectMeta{Name: "vip", Generation: generation}}
	a.Status.EvaluatedGeneration = &generation
	return Facts{Platform: facts.Platform{Name: "shop", Found: true, Serves: true}, Audience: a, Destination: d}
}

func TestGoldenOfATest(t *testing.T) {
	job, err := Test{Name: TestName("mailer", "x7k2p"), Sync: vip(), Destination: signed(), HasRecord: true, Send: true, Slot: start.Slot, Image: "connector:1"}.Job()
	if err != nil {
		t.Fatal(err)
	}
	podsecurity.Check(t, job.Spec.Template, false)
	golden.Compare(t, "test", []runtime.ApplyConfiguration{job}...)
	if name := TestName(strings.Repeat("a", 63), "x7k2p"); len(name) != 63 {
		t.Errorf("name %s has %d characters", name, len(name))
	}
}

func TestGolden(t *testing.T) {
	for _, c := range []struct {
		name  string
		d     *v1alpha1.Destination
		drain bool
	}{{"webhook", mailer(), false}, {"sql", table(), false}, {"signed", signed(), false}, {"files", claim(), false}, {"s3", bucket(), false}, {"kafka", topic(), false}, {"nats", subject(), false}, {"connector", output(), false}, {"drain", mailer(), true}} {
		t.Run(c.name, func(t *testing.T) {
			job, err := Deliver(vip(), evaluated(c.d), start, "0123456789abcdef", images)
			if c.drain {
				job, err = Drain(vip(), c.d, start, images)
			}
			if err != nil {
				t.Fatal(err)
			}
			podsecurity.Check(t, job.Spec.Template, false)
			golden.Compare(t, c.name, []runtime.ApplyConfiguration{job}...)
		})
	}
}

// A change of the fingerprint would run every Sync on the day of an upgrade.
func TestOrderKeepsItsFingerprint(t *testing.T) {
	wish, err := Wish(vip(), evaluated(mailer()))
	if err != nil {
		t.Fatal(err)
	}
	if want := "dc12303784b48d94"; wish.Order != want {
		t.Errorf("the fingerprint is %s and was %s in every version so far", wish.Order, want)
	}
}

// Runs that may be under way at a time share the rate.
func TestDeliveryOfADestination(t *testing.T) {
	for _, c := range []struct {
		limit *v1alpha1.RateLimit
		retry *v1alpha1.Retry
		want  *run.Delivery
		busy  []int // how many others keep a run from starting; the least
	}{
		{nil, nil, nil, nil},
		{&v1alpha1.RateLimit{Concurrency: new(int32(3))}, nil, nil, []int{3}},
		{&v1alpha1.RateLimit{PerSecond: new(int32(10))}, nil, &run.Delivery{Interval: 100 * time.Millisecond}, []int{1}},
		{&v1alpha1.RateLimit{PerSecond: new(int32(10)), Concurrency: new(int32(4)), BatchSize: new(int32(50))}, nil, &run.Delivery{Interval: 400 * time.Millisecond, BatchSize: 50}, []int{4}},
		{nil, &v1alpha1.Retry{Attempts: new(int32(7)), MaxDelay: "1m", GiveUpAfter: "1h"}, &run.Delivery{Attempts: 7, MaxDelay: time.Minute, Patience: time.Hour}, nil},
	} {
		d := mailer()
		d.Spec.RateLimit, d.Spec.Retry = c.limit, c.retry
		if diff := cmp.Diff(c.want, Order(vip(), d).Delivery); diff != "" {
			t.Errorf("%+v, %+v (-want +got):\n%s", c.limit, c.retry, diff)
		}
		if len(c.busy) == 0 {
			c.busy = []int{1 << 30}
		}
		if least := c.busy[0]; Busy(d, least-1) != "" || (least < 1<<30) != (Busy(d, least) != "") {
			t.Errorf("%+v: %q beside %d, %q beside %d", c.limit, Busy(d, least-1), least-1, Busy(d, least), least)
		}
	}
}

// A rollback, the next one, and the rule's members again are each delivered at once: no two are one order, or one Job.
func TestRollbackIsAnOrderOfItsOwn(t *testing.T) {
	seen := map[string]string{}
	order := ""
	for i, c := range []struct {
		why      string
		revision int64
		back     *int64
		since    time.Duration
	}{
		{"the rule", 5, nil, 0}, {"rolled back", 6, new(int64(3)), time.Minute}, {"to another one", 7, new(int64(2)), time.Minute},
		{"to the first one again", 8, new(int64(3)), time.Minute}, {"the rule again", 9, nil, 2 * time.Minute},
	} {
		f := evaluated(mailer())
		f.Audience.Status.Revision, f.Audience.Status.RolledBackTo = &c.revision, c.back
		f.Audience.Status.Conditions = []metav1.Condition{{Type: "Evaluated", LastTransitionTime: metav1.NewTime(noon.Add(c.since))}}
		wish, err := Wish(vip(), f)
		if err != nil {
			t.Fatal(err)
		}
		if other, ok := seen[wish.Order+wish.Version]; ok || wish.Order == order {
			t.Errorf("%d, %s: the order is %s after %s, and the Job that of %q", i, c.why, wish.Order, order, other)
		}
		seen[wish.Order+wish.Version], order = c.why, wish.Order
	}
}

func TestMissing(t *testing.T) {
	with := func(change func(*v1alpha1.Sync, *Facts)) (*v1alpha1.Sync, Facts) {
		s, f := vip(), evaluated(mailer())
		f.Secret = &facts.Secret{Ref: *f.Destination.Spec.Webhook.TokenSecretRef, Field: "spec.webhook.tokenSecretRef", Found: true, HasKey: true}
		change(s, &f)
		return s, f
	}
	for _, c := range []struct {
		why    string
		change func(*v1alpha1.Sync, *Facts)
		want   string
	}{
		{"all is there", func(*v1alpha1.Sync, *Facts) {}, ""},
		{"no Platform", func(_ *v1alpha1.Sync, f *Facts) { f.Platform.Found = false }, "PlatformNotFound: spec.platformRef: there is no Platform shop"},
		{"no Audience", func(_ *v1alpha1.Sync, f *Facts) { f.Audience = nil }, "AudienceNotFound: there is no Audience vip"},
		{"no Destination", func(_ *v1alpha1.Sync, f *Facts) { f.Destination = nil }, "DestinationNotFound: there is no Destination mailer"},
		{"a Destination of another Platform", func(_ *v1alpha1.Sync, f *Facts) { f.Destination.Spec.PlatformRef.Name = "other" }, "InvalidSpec: Destination mailer belongs to Platform other"},
		{"a mode that the destination cannot do", func(s *v1alpha1.Sync, f *Facts) { s.Spec.Mode, f.Destination = v1alpha1.SyncAppend, table() },
			"InvalidSpec: mode, which is spec.destinations[mailer].mode of Audience vip: Append sends each entry as an event, and Destination mailer (sql) holds a row per customer"},
		{"no Secret", func(_ *v1alpha1.Sync, f *Facts) { f.Secret.Found = false }, "SecretNotFound: Destination mailer: spec.webhook.tokenSecretRef: there is no Secret mail; create it with the key token"},
		{"no key", func(_ *v1alpha1.Sync, f *Facts) { f.Secret.HasKey = false }, "SecretNotFound: Destination mailer: spec.webhook.tokenSecretRef: Secret mail has no key token"},
		{"the store does not run", func(_ *v1alpha1.Sync, f *Facts) { f.Platform.Serves = false }, "PlatformNotReady: Platform shop does not serve yet"},
		{"never evaluated", func(_ *v1alpha1.Sync, f *Facts) { f.Audience.Status.EvaluatedGeneration = nil }, "AwaitingFirstEvaluation: the engine has not evaluated generation 4"},
		{"an older generation was", func(_ *v1alpha1.Sync, f *Facts) { f.Audience.Generation = 5 }, "AwaitingFirstEvaluation: the engine has not evaluated generation 5"},
		{"the guard keeps the change of an edit back", func(_ *v1alpha1.Sync, f *Facts) {
			f.Audience.Generation = 5
			f.Audience.Status.Conditions = []metav1.Condition{{Type: "Evaluated", Status: "False", Reason: "ChangeTooLarge", ObservedGeneration: 5}}
		}, "ChangeTooLarge: generation 5 of Audience vip would change too much: approve or correct it there"},
		{"the guard keeps a change back, and the members of before are those of the rule", func(_ *v1alpha1.Sync, f *Facts) {
			f.Audience.Status.Conditions = []metav1.Condition{{Type: "Evaluated", Status: "False", Reason: "ChangeTooLarge", ObservedGeneration: 4}}
		}, ""},
		{"the Audience is going", func(_ *v1alpha1.Sync, f *Facts) { f.Audience.DeletionTimestamp = &metav1.Time{Time: noon} }, "Draining: Audience vip is being deleted"},
	} {
		t.Run(c.why, func(t *testing.T) {
			got := ""
			if o := Missing(with(c.change)); o != nil {
				status := &v1alpha1.CommonStatus{}
				o.Summarise(status, 1, noon)
				got = status.Conditions[0].Reason + ": " + status.Conditions[0].Message
			}
			if !strings.HasPrefix(got, c.want) || (got == "") != (c.want == "") {
				t.Errorf("got %q, want %q…", got, c.want)
			}
		})
	}
}

// What a destination holds is told by the newest run that knows it.
func TestAccount(t *testing.T) {
	record := func(name string, slot int, result string, report run.Report) runs.Record {
		at := metav1.NewTime(noon.Add(time.Duration(slot) * time.Minute))
		report.Result = result
		return runs.Record{Run: v1alpha1.Run{Name: name, Slot: &at, Finished: &at, Result: result}, Report: report}
	}
	s := vip()
	first := record("a", 1, v1alpha1.RunSucceeded, run.Report{Members: 9, Added: 9})
	Account(s, []runs.Record{first}, &first, &first)
	early := record("b", 2, v1alpha1.RunFailed, run.Report{})
	Account(s, []runs.Record{early, first}, &early, &early)
	if *s.Status.Members != 9 {
		t.Errorf("after a run that failed before it got there the destination holds %d members, want 9", *s.Status.Members)
	}
	late := record("c", 3, v1alpha1.RunFailed, run.Report{Members: 7, Pending: 2})
	Account(s, []runs.Record{late, early, first}, &late, &late)
	if *s.Status.Members != 7 || s.Status.Pending != 2 {
		t.Errorf("members = %d, pending = %d, want 7 and 2", *s.Status.Members, s.Status.Pending)
	}
	records := []runs.Record{early, first} // an old failed Job outlives newer ones that succeeded
	for i := range 20 {
		r := record(string(rune('d'+i)), 4+i, v1alpha1.RunSucceeded, run.Report{})
		records = append([]runs.Record{r}, records...)
		Account(s, records, &records[0], &records[0])
	}
	if len(s.Status.History) != maxHistory || s.Status.History[0].Name != string(rune('d'+19)) {
		t.Errorf("%d runs in the history, the newest is %s", len(s.Status.History), s.Status.History[0].Name)
	}
	for _, h := range s.Status.History {
		if h.Name == "b" {
			t.Error("a run that had left the history came back")
		}
	}
}
