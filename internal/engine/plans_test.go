package engine

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/internal/ingest"
	"kohort.dev/kohort/internal/trackingplan"
)

func planSpec(schema string) *v1alpha1.TrackingPlan {
	return &v1alpha1.TrackingPlan{
		Events: []v1alpha1.PlannedEvent{{Name: "Order Completed", Schema: &apiextensionsv1.JSON{Raw: []byte(schema)}}}, OnViolation: v1alpha1.ViolationQuarantine,
	}
}

func TestTermsOf(t *testing.T) {
	const good, other, bad = `{"type":"object"}`, `{"required":["total"]}`, `{"type":"money"}`
	compiled := func(schema string) *trackingplan.Plan {
		plan, err := trackingplan.Compile(planSpec(schema))
		if err != nil {
			t.Fatal(err)
		}
		return plan
	}
	before := map[string]ingest.SourceTerms{"web": {Plan: compiled(good)}}
	source := func(plan *v1alpha1.TrackingPlan, window string) []*v1alpha1.Source {
		s := &v1alpha1.Source{ObjectMeta: named("web")}
		s.Spec.TrackingPlan = plan
		if window != "" {
			s.Spec.Deduplication = &v1alpha1.Deduplication{Window: v1alpha1.Duration(window)}
		}
		return []*v1alpha1.Source{s}
	}
	for _, c := range []struct {
		why     string
		sources []*v1alpha1.Source
		before  map[string]ingest.SourceTerms
		hash    string // of the plan
		refusal string
		window  time.Duration
	}{
		{"a Source without any", source(nil, ""), nil, "", "", 0},
		{"a plan that is taken back", source(nil, ""), before, "", "", 0},
		{"a window", source(nil, "2d"), nil, "", "", 48 * time.Hour},
		{"a plan and a window", source(planSpec(good), "1h"), nil, compiled(good).Hash(), "", time.Hour},
		{"another plan", source(planSpec(other), ""), before, compiled(other).Hash(), "", 0},
		{"a plan that cannot be used: the one of before", source(planSpec(bad), ""), before, compiled(good).Hash(), "", 0},
		{"one that never could", source(planSpec(bad), "1h"), nil, "", "spec.trackingPlan.events[Order Completed].schema at /type", time.Hour},
		{"a Source that is gone", nil, before, compiled(good).Hash(), "", 0},
	} {
		after, err := termsOf(c.sources, c.before)
		if err != nil {
			t.Fatal(err)
		}
		got := after["web"]
		hash := ""
		if got.Plan != nil {
			hash = got.Plan.Hash()
		}
		if hash != c.hash || got.Window != c.window || (got.Refusal == "") != (c.refusal == "") || !strings.Contains(got.Refusal, c.refusal) {
			t.Errorf("%s: plan %q, refusal %q, window %s", c.why, hash, got.Refusal, got.Window)
		}
	}
	same, err := termsOf(source(planSpec(good), ""), before)
	if err != nil || same["web"].Plan != before["web"].Plan {
		t.Errorf("a plan that stays is compiled again: %v", err)
	}
}

// violations is a part of TestEngine: a tracking plan on the Source, from its edit to what people see of it.
func violations(t *testing.T, p *place) {
	order := func(id, properties string) string {
		return `{"type":"track","event":"Order Completed","messageId":"` + id + `","userId":"u1","properties":` + properties + `}`
	}
	edit(p, &v1alpha1.Source{}, "web", func(s *v1alpha1.Source) { s.Spec.TrackingPlan = planSpec(`{"properties":{"total":{"type":"number"}}}`) })
	p.eventually("the plan is taken up", 10*time.Second, func() error {
		if !strings.Contains(p.log.String(), "source=web plan=true") {
			return errors.New("ingestion does not say so")
		}
		return nil
	})
	p.until("the plan is followed so far", &v1alpha1.Source{}, "web", `"type":"TrackingPlanFollowed","status":"True"`, `"trackingPlan":{"violating":0}`)
	p.send(time.Now(), order("p1", `{"total":1}`), order("p2", `{"total":"1 €"}`))
	p.until("what broke it is counted", &v1alpha1.Source{}, "web", `"type":"TrackingPlanFollowed","status":"False"`, `"reason":"TrackingPlanViolated"`,
		`"trackingPlan":{"violating":1,"quarantined":1,"violations":[{"event":"Order Completed","field":"/total","rule":"type","message":"it must be number and is string","count":1,"lastSeen":"`)
	// An edit that breaks the plan leaves the one of before in force, in a process that was started after it too.
	edit(p, &v1alpha1.Source{}, "web", func(s *v1alpha1.Source) { s.Spec.TrackingPlan = planSpec(`{"type":"money"}`) })
	p.stop()
	p.start()
	p.eventually("ready", 30*time.Second, p.ready)
	p.send(time.Now(), order("p3", `{"total":true}`), order("p4", `{"total":4}`))
	p.until("the plan of before judges on", &v1alpha1.Source{}, "web", `"trackingPlan":{"violating":2,"quarantined":2,`)
	p.eventually("an Event", 10*time.Second, func() error {
		var events corev1.EventList
		if err := p.k8s.List(t.Context(), &events, client.InNamespace(namespace)); err != nil {
			return err
		}
		if !slices.ContainsFunc(events.Items, func(e corev1.Event) bool { return e.InvolvedObject.Name == "web" && e.Reason == "TrackingPlanViolated" }) {
			return fmt.Errorf("it is not among %d", len(events.Items))
		}
		return nil
	})

	_, body := p.get(p.config.HealthListen, "/metrics", "")
	for _, part := range []string{`kohort_source_violating_events{action="Quarantine",source="web"} 2`, "kohort_ingest_violating_total 1", "kohort_ingest_dropped_total 0"} {
		if !strings.Contains(body, part) {
			t.Errorf("%s is not in\n%s", part, body)
		}
	}
	for query, want := range map[string]string{
		"": `{"violations":[{"source":"web","party":"First","event":"Order Completed","field":"/total","rule":"type","action":"Quarantine","message":"it must be number and is boolean","count":1,"messageId":"p3","received":"`,
		"?source=web&event=Order+Completed&since=1h&limit=1": `"messageId":"p3"`,
		"?source=crm":                         `{"violations":[]}`,
		"?since=2000-01-01T00:00:00Z":         `"messageId":"p2"`,
		"?since=yesterday":                    `"code":"BadTime"`,
		"?limit=0":                            `"code":"BadLimit"`,
		"?source=" + strings.Repeat("x", 501): `"code":"BadFilter"`,
	} {
		if _, body := p.get(p.config.Listen, "/v1/violations"+query, apiToken); !strings.Contains(body, want) {
			t.Errorf("%.40s gives %s, want %s", query, body, want)
		}
	}
	redrive(t, p)
	p.eventually("a plan that is taken back is forgotten", 20*time.Second, func() error {
		var s v1alpha1.Source
		if err := p.k8s.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "web"}, &s); err != nil {
			return err
		}
		if s.Status.TrackingPlan != nil || len(s.Status.Conditions) > 0 {
			return fmt.Errorf("%+v", s.Status)
		}
		return nil
	})
}

// redrive takes the plan back and lets what it refused in again.
func redrive(t *testing.T, p *place) {
	post := func(query string) string {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+p.config.Listen+"/v1/quarantine/redrive?"+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+apiToken)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(body))
	}
	for path, want := range map[string]string{
		"?reason=PlanViolated&limit=1":   `"stage":"plan","reason":"PlanViolated","message":"/total: it must be number and is boolean;`,
		"/summary?source=web&stage=plan": `{"groups":[{"source":"web","stage":"plan","reason":"PlanViolated","rows":2,"redrivable":2}]}`,
		"?released=perhaps":              `"code":"BadFilter"`,
		"?until=soon":                    `"code":"BadTime"`,
		"/redrive":                       `"code":"NoSuchPath"`, // GET
	} {
		if _, body := p.get(p.config.Listen, "/v1/quarantine"+path, apiToken); !strings.Contains(body, want) {
			t.Errorf("%s gives %s, want %s", path, body, want)
		}
	}
	if got := post("cursor=x"); !strings.Contains(got, `"code":"BadCursor"`) {
		t.Errorf("a bad cursor gives %s", got)
	}
	var before v1alpha1.Source
	if err := p.k8s.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "web"}, &before); err != nil {
		t.Fatal(err)
	}
	edit(p, &v1alpha1.Source{}, "web", func(s *v1alpha1.Source) { s.Spec.TrackingPlan = nil })
	p.eventually("the plan is taken back", 10*time.Second, func() error {
		if !strings.Contains(p.log.String(), "source=web plan=false") {
			return errors.New("ingestion does not say so")
		}
		return nil
	})
	if got := post("reason=PlanViolated&messageId=p2"); got != `{"sent":1}` {
		t.Errorf("one event: %s", got)
	}
	if got := post("reason=PlanViolated"); got != `{"sent":2}` && got != `{"sent":1}` { // p2 may not be stored yet
		t.Errorf("all events: %s", got)
	}
	p.until("they are in", &v1alpha1.Source{}, "web", fmt.Sprintf(`"accepted":%d,"rejected":%d`, *before.Status.Accepted+2, *before.Status.Rejected-2))
}
