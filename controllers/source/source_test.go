package source

import (
	"strings"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/internal/facts"
	"kohort.dev/kohort/controllers/internal/golden"
	"kohort.dev/kohort/controllers/internal/podsecurity"
	"kohort.dev/kohort/controllers/internal/runs"
	"kohort.dev/kohort/controllers/internal/workload"
)

var images = workload.Images{Kohort: "kohort:1", Connector: "connector:1", Store: "store:1"}

func named(name string, spec v1alpha1.SourceSpec) *v1alpha1.Source {
	spec.PlatformRef.Name = "shop"
	return &v1alpha1.Source{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "team", Generation: 3}, Spec: spec}
}

func web(http v1alpha1.HTTPSource) *v1alpha1.Source {
	return named("web", v1alpha1.SourceSpec{HTTP: &http})
}

func crm() *v1alpha1.Source {
	return named("crm", v1alpha1.SourceSpec{Party: v1alpha1.PartySecond, Mapping: "root = this", SQL: &v1alpha1.SQLSource{
		Driver: "postgres", DSNSecretRef: v1alpha1.SecretKeyReference{Name: "crm-db", Key: "url"}, Query: "select * from t where id > $1 order by id", CursorColumn: "id"}})
}

func files() *v1alpha1.Source {
	return named("files", v1alpha1.SourceSpec{Mapping: "root = this", Files: &v1alpha1.FilesSource{
		URL: "file:///in/*.csv", ClaimRef: &v1alpha1.LocalReference{Name: "drop"}, Format: v1alpha1.FormatCSV}})
}

var start = runs.Start{Name: "crm-1764000000", Slot: time.Unix(1764000000, 0), From: time.Unix(1763996400, 0), Request: "now"}

func TestGolden(t *testing.T) {
	two, ninety, large := int32(2), int32(90), int32(4_096_000)
	own := v1alpha1.SecretKeyReference{Name: "mine", Key: "key"}
	suspended := web(v1alpha1.HTTPSource{})
	suspended.Spec.Suspend = true
	for _, c := range []struct {
		name    string
		objects []runtime.ApplyConfiguration
	}{
		{"http", Collector(web(v1alpha1.HTTPSource{}), images)},
		{"http-asked", Collector(web(v1alpha1.HTTPSource{WriteKeySecretRef: &own,
			Autoscaling: &v1alpha1.Autoscaling{MinReplicas: 2, MaxReplicas: 20, TargetCPUUtilizationPercentage: &ninety}}), images)},
		{"http-limited", Collector(web(v1alpha1.HTTPSource{Limits: &v1alpha1.HTTPLimits{EventsPerSecond: &ninety, Burst: &two, MaxBatchBytes: &large},
			CORS: &v1alpha1.CORS{AllowedOrigins: []string{"https://a.example", "https://*.b.example"}}, ClientIP: v1alpha1.ClientIPAnonymize, TrustedHops: 1}), images)[3:4]},
		{"http-fixed", Collector(web(v1alpha1.HTTPSource{Replicas: &two}), images)[3:]},
		{"http-suspended", Collector(suspended, images)[3:]},
		{"sql", pulls(t, crm())},
		{"files", pulls(t, files())},
		{"s3", pulls(t, named("lists", v1alpha1.SourceSpec{Mapping: "root = this", Files: &v1alpha1.FilesSource{URL: "s3://lists/*.csv", Format: v1alpha1.FormatCSV,
			S3: &v1alpha1.S3Storage{Endpoint: "http://minio:9000", PathStyle: true, AccessKeyIDSecretRef: &own, SecretAccessKeySecretRef: &own}}}))},
		{"kafka", listens(t, queue(v1alpha1.SourceSpec{Kafka: &v1alpha1.KafkaSource{Brokers: []string{"k:9093"}, Topics: []string{"orders"}, StartFrom: v1alpha1.StartLatest,
			TLS: &v1alpha1.KafkaTLS{CASecretRef: &own}, SASL: &v1alpha1.KafkaSASL{Mechanism: "ScramSHA512", Username: "u", PasswordSecretRef: own}}}))},
		{"nats", listens(t, queue(v1alpha1.SourceSpec{Suspend: true, NATS: &v1alpha1.NATSSource{URLs: []string{"nats://n:4222"}, Stream: "S", Durable: "mine", CredentialsSecretRef: &own}}))},
		{"connector", listens(t, queue(v1alpha1.SourceSpec{Connector: &v1alpha1.ConnectorSource{Input: apiextensionsv1.JSON{Raw: []byte(`{"mqtt":{"password":"${P}"}}`)},
			SecretRefs: []v1alpha1.NamedSecret{{Name: "P", SecretRef: own}}}}))},
		{"webhook", listens(t, queue(v1alpha1.SourceSpec{Webhook: &v1alpha1.WebhookSource{}}))},
		{"webhook-signed", listens(t, queue(v1alpha1.SourceSpec{Webhook: &v1alpha1.WebhookSource{Replicas: &two, SecretRef: &own, Verify: v1alpha1.VerifyHMAC,
			Signature: &v1alpha1.WebhookSignature{Header: "X-Shopify-Hmac-Sha256", Encoding: "Base64"}}}))[:1]},
	} {
		t.Run(c.name, func(t *testing.T) { golden.Compare(t, c.name, c.objects...) })
	}
}

func queue(spec v1alpha1.SourceSpec) *v1alpha1.Source {
	spec.Mapping = "root = this"
	return named("queue", spec)
}

func listens(t *testing.T, s *v1alpha1.Source) []runtime.ApplyConfiguration {
	t.Helper()
	children, err := Children(s, images)
	if err != nil {
		t.Fatal(err)
	}
	podsecurity.Check(t, children[0].(*appsv1ac.DeploymentApplyConfiguration).Spec.Template, false)
	return children
}

func pulls(t *testing.T, s *v1alpha1.Source) []runtime.ApplyConfiguration {
	t.Helper()
	job, err := Pull(s, start, "0123456789abcdef", images)
	if err != nil {
		t.Fatal(err)
	}
	podsecurity.Check(t, job.Spec.Template, false)
	return []runtime.ApplyConfiguration{job}
}

func TestCollectorsAreRestricted(t *testing.T) {
	podsecurity.Check(t, deployment(web(v1alpha1.HTTPSource{}), images).Spec.Template, false)
}

// The fingerprint of an order decides whether a Source without a schedule runs again. If it changed with a version of the
// operator, every such Source would run again on the day of the upgrade.
func TestOrderKeepsItsFingerprint(t *testing.T) {
	for name, c := range map[string]struct {
		source *v1alpha1.Source
		want   string
	}{
		"sql":   {crm(), "7cdb1ae6b55dfc09"},
		"files": {files(), "65198c269c0c9ed6"},
	} {
		wish, err := Wish(c.source)
		if err != nil {
			t.Fatal(err)
		}
		if wish.Order != c.want {
			t.Errorf("%s: the fingerprint is %s and was %s in every version so far", name, wish.Order, c.want)
		}
	}
}

// What is not part of the order does not run a Source again; what is does.
func TestOrderFollowsTheSpec(t *testing.T) {
	fingerprint := func(change func(*v1alpha1.Source)) string {
		s := crm()
		change(s)
		wish, err := Wish(s)
		if err != nil {
			t.Fatal(err)
		}
		return wish.Order
	}
	same := fingerprint(func(*v1alpha1.Source) {})
	for why, change := range map[string]func(*v1alpha1.Source){
		"suspension":       func(s *v1alpha1.Source) { s.Spec.Suspend = true },
		"a schedule":       func(s *v1alpha1.Source) { s.Spec.Schedule = "1h" },
		"a new generation": func(s *v1alpha1.Source) { s.Generation++ },
		"another Secret":   func(s *v1alpha1.Source) { s.Spec.SQL.DSNSecretRef.Name = "other" },
	} {
		if fingerprint(change) != same {
			t.Errorf("%s changes the order", why)
		}
	}
	for why, change := range map[string]func(*v1alpha1.Source){
		"the mapping": func(s *v1alpha1.Source) { s.Spec.Mapping = "root = deleted()" },
		"the query":   func(s *v1alpha1.Source) { s.Spec.SQL.Query = "select 1 where $1" },
		"the cursor":  func(s *v1alpha1.Source) { s.Spec.SQL.CursorColumn = "at" },
		"the party":   func(s *v1alpha1.Source) { s.Spec.Party = v1alpha1.PartyThird },
	} {
		if fingerprint(change) == same {
			t.Errorf("%s does not change the order", why)
		}
	}
}

func TestAMissedRunIsTold(t *testing.T) {
	s := files()
	s.Spec.Schedule, s.Spec.StartingDeadline = "1h", "10m"
	succeeded := runs.Judge(nil, &runs.Record{Run: v1alpha1.Run{Name: "x", Result: v1alpha1.RunSucceeded}}, "", false)
	failed := runs.Judge(nil, &runs.Record{Run: v1alpha1.Run{Name: "x", Result: v1alpha1.RunFailed, Reason: "QueryFailed"}}, "", false)
	serving := Facts{Platform: facts.Platform{Found: true, Serves: true}}
	for _, c := range []struct {
		why     string
		verdict runs.Verdict
		missed  time.Time
		want    string
	}{
		{"missed, after one that succeeded", succeeded, time.Unix(1764000000, 0), v1alpha1.ReasonRunMissed},
		{"missed, before any", runs.Judge(nil, nil, "", false), time.Unix(1764000000, 0), v1alpha1.ReasonRunMissed},
		{"a failure is told first", failed, time.Unix(1764000000, 0), "QueryFailed"},
		{"none was missed", succeeded, time.Time{}, v1alpha1.ReasonReady},
	} {
		status := &v1alpha1.CommonStatus{}
		Pulls(s, serving, c.verdict, runs.Decision{Missed: c.missed}).Summarise(status, 1, time.Unix(1, 0))
		if got := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady); got == nil || got.Reason != c.want {
			t.Errorf("%s: %+v", c.why, got)
		}
	}
}

func TestPlaceholders(t *testing.T) {
	for url, says := range map[string]string{
		"file:///in/{from:yyyy}.csv": "set spec.schedule",
		"file:///in/{from:YYYY}.csv": "spec.files.url: {from:YYYY} is no place for a time",
		"file:///in/plain.csv":       "",
	} {
		s := files()
		s.Spec.Files.URL = url
		if _, err := Wish(s); (says == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", url, err, says)
		}
		s.Spec.Schedule = "1h"
		if _, err := Wish(s); (err == nil) != (says != "spec.files.url: {from:YYYY} is no place for a time") {
			t.Errorf("%s with a schedule: %v", url, err)
		}
	}
}
