package engine

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kohort.dev/kohort/api/v1alpha1"
)

func named(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name}
}

func audienceNamed(name string, criteria ...v1alpha1.Criterion) *v1alpha1.Audience {
	a := &v1alpha1.Audience{ObjectMeta: named(name)}
	a.Spec.PlatformRef.Name = platformName
	a.Spec.Criteria = criteria
	return a
}

func did(event string) v1alpha1.Criterion {
	return v1alpha1.Criterion{Name: "did", Event: &v1alpha1.EventCriterion{Name: event}}
}

func memberOf(audience string) v1alpha1.Criterion {
	return v1alpha1.Criterion{Name: "member", Audience: &v1alpha1.LocalReference{Name: audience}}
}

// TestEngine is one life of an engine, in the order in which things happen to it; a later part builds on the earlier.
func TestEngine(t *testing.T) {
	p := newPlace(t)
	platform := &v1alpha1.Platform{ObjectMeta: named(platformName)}
	platform.Spec.Type = v1alpha1.PlatformCDP
	platform.Spec.Storage.Embedded = &v1alpha1.EmbeddedStorage{Size: resource.MustParse("1Gi")}
	web := &v1alpha1.Source{ObjectMeta: named("web")}
	web.Spec.PlatformRef.Name, web.Spec.HTTP = platformName, &v1alpha1.HTTPSource{}
	foreign := audienceNamed("foreign", did("Order Completed"))
	foreign.Spec.PlatformRef.Name = "other"
	policy := &v1alpha1.RetentionPolicy{ObjectMeta: named("old-events")}
	policy.Spec.PlatformRef.Name, policy.Spec.MaxAge = platformName, "30d"
	policy.Spec.Select.Data = []v1alpha1.RetentionData{v1alpha1.RetainEvents}
	p.create(platform, web, policy, foreign,
		audienceNamed("buyers", did("Order Completed")),
		audienceNamed("nested", memberOf("buyers")),
		audienceNamed("waiting", memberOf("later")),
		audienceNamed("negative", v1alpha1.Criterion{Name: "never", Event: &v1alpha1.EventCriterion{Name: "Order Completed", Count: &v1alpha1.Count{Max: new(int64(0))}}}))
	operatorsShare(p, "buyers")

	p.start()
	p.eventually("ready", 30*time.Second, p.ready)
	now := time.Now()
	p.send(now,
		`{"type":"track","event":"Order Completed","messageId":"m1","userId":"u1","anonymousId":"a1","properties":{"total":10}}`,
		`{"type":"track","event":"Order Completed","messageId":"m2","userId":"u2"}`,
		`{"type":"identify","messageId":"m3","userId":"u1","traits":{"email":"Ada@Example.com","plan":"pro"}}`,
		`{"type":"track"}`)

	p.run("statuses tell what the tables hold", func(t *testing.T) {
		p.until("platform", &v1alpha1.Platform{}, platformName, `"profiles":2`, `"events":3`, `"schemaVersion":`)
		p.until("source", &v1alpha1.Source{}, "web", `"accepted":3`, `"rejected":1`, `"lastEventTime":"`)
		// The next regular evaluation is a minute away; a person need not wait for it.
		requestNow(p, "buyers", "one")
		requestNow(p, "nested", "one")
		p.until("audience", &v1alpha1.Audience{}, "buyers", `"size":2`, `"entered24h":2`, `"revision":2`, `"evaluatedGeneration":1`, `"type":"Evaluated","status":"True","observedGeneration":1`)
		p.until("nested audience", &v1alpha1.Audience{}, "nested", `"size":2`)
		p.until("missing audience", &v1alpha1.Audience{}, "waiting", `"reason":"AudienceNotFound"`, `spec.criteria[member].audience.name`)
		p.until("negative rule", &v1alpha1.Audience{}, "negative", `"reason":"InvalidSpec"`)
		p.until("policy", &v1alpha1.RetentionPolicy{}, "old-events", `"reason":"Enforced"`, `"overdue":0`, `"nextEnforcement":"`)
		var other v1alpha1.Audience
		if err := p.k8s.Get(t.Context(), client.ObjectKeyFromObject(foreign), &other); err != nil || len(other.Status.Conditions) > 0 {
			t.Errorf("the audience of another Platform has a status: %+v, %v", other.Status, err)
		}
	})

	p.run("metrics tell what is done", func(t *testing.T) {
		status, body := p.get(p.config.HealthListen, "/metrics", "")
		for _, part := range []string{"kohort_ingest_events_total 3", "kohort_ingest_quarantined_total 1", "kohort_ingest_lag_messages 0",
			`kohort_audience_members{audience="buyers"} 2`, "kohort_evaluation_duration_seconds_count", "go_goroutines"} {
			if status != http.StatusOK || !strings.Contains(body, part) {
				t.Errorf("status %d, and %s is not in\n%s", status, part, body)
			}
		}
	})

	p.run("the operator's share of a status stays", func(t *testing.T) {
		p.until("the other manager's condition", &v1alpha1.Audience{}, "buyers", `"synced":"1/1"`, `"type":"Ready"`, `"type":"Evaluated"`)
	})

	p.run("nothing new, no writes", func(t *testing.T) {
		before := versions(p)
		time.Sleep(2*statusEvery + time.Second)
		if after := versions(p); after != before {
			t.Errorf("statuses were written although nothing happened:\n%s\n%s", before, after)
		}
	})

	p.run("an edit counts at once", func(t *testing.T) {
		edit(p, &v1alpha1.Audience{}, "buyers", func(a *v1alpha1.Audience) {
			a.Spec.Criteria[0].Event.Where = []v1alpha1.PropertyCondition{{Property: "total", Operator: v1alpha1.OperatorExists}}
		})
		p.until("the new rule", &v1alpha1.Audience{}, "buyers", `"size":1`, `"exited24h":1`, `"evaluatedGeneration":2`)
	})

	p.run("a missing audience that comes is taken up", func(t *testing.T) {
		p.create(audienceNamed("later", did("Order Completed")))
		p.until("what waited for it", &v1alpha1.Audience{}, "waiting", `"reason":"Evaluated"`, `"size":2`)
	})

	p.run("a deleted audience has no members", func(t *testing.T) {
		if err := p.k8s.Delete(t.Context(), audienceNamed("nested")); err != nil {
			t.Fatal(err)
		}
		conn := p.conn()
		p.eventually("no members", 20*time.Second, func() error {
			var n, left uint64
			err := conn.QueryRow(t.Context(), "SELECT (SELECT count() FROM memberships FINAL WHERE audience = 'nested'), (SELECT countIf(change = 'left') FROM membership_log WHERE audience = 'nested')").Scan(&n, &left)
			if err == nil && (n != 0 || left != 2) {
				err = fmt.Errorf("%d members, %d left", n, left)
			}
			return err
		})
	})

	p.run("profiles are served to those who have the token", func(t *testing.T) { profiles(t, p) })

	p.run("old events go, and their number outlives the process", func(t *testing.T) {
		p.send(now.AddDate(0, 0, -40), `{"type":"track","event":"Seen","messageId":"old1","userId":"u1"}`, `{"type":"track","event":"Seen","messageId":"old2","userId":"u1"}`)
		p.until("the old events are stored", &v1alpha1.Platform{}, platformName, `"events":5`)
		p.stop()
		p.start()
		p.until("deleted", &v1alpha1.RetentionPolicy{}, "old-events", `"deleted":{"events":2}`, `"overdue":0`)
		p.send(now.AddDate(0, 0, -40), `{"type":"track","event":"Seen","messageId":"old3","userId":"u1"}`)
		p.until("another old event is stored", &v1alpha1.Platform{}, platformName, `"events":4`)
		p.stop()
		p.start()
		p.until("added up", &v1alpha1.RetentionPolicy{}, "old-events", `"deleted":{"events":3}`)
	})

	p.run("a store that is away is waited for, and readiness says so", func(t *testing.T) {
		p.warehouse.Kill(t)
		p.eventually("not ready", 30*time.Second, func() error {
			if status, body := p.get(p.config.HealthListen, "/readyz", ""); status != http.StatusServiceUnavailable || !strings.Contains(body, "warehouse") {
				return fmt.Errorf("%d %s", status, body)
			}
			return nil
		})
		if status, body := p.get(p.config.HealthListen, "/healthz", ""); status != http.StatusOK {
			t.Errorf("a store that is away must not get the engine restarted: %d %s", status, body)
		}
		p.warehouse.Start(t)
		p.eventually("ready again", 30*time.Second, p.ready)
		p.send(now, `{"type":"track","event":"Order Completed","messageId":"m9","userId":"u9","properties":{"total":1}}`)
		p.until("ingestion goes on", &v1alpha1.Platform{}, platformName, `"profiles":3`)
		requestNow(p, "buyers", "two")
		p.until("evaluation goes on", &v1alpha1.Audience{}, "buyers", `"size":2`)
	})

	p.run("a suspended Platform takes nothing in, and catches up", func(t *testing.T) {
		edit(p, &v1alpha1.Platform{}, platformName, func(o *v1alpha1.Platform) { o.Spec.Suspend = true })
		p.eventually("ingestion stops", 10*time.Second, func() error {
			if status, body := p.get(p.config.HealthListen, "/metrics", ""); status != http.StatusOK || strings.Contains(body, "kohort_ingest_lag_messages") {
				return fmt.Errorf("it still runs")
			}
			return nil
		})
		p.send(now, `{"type":"track","event":"Order Completed","messageId":"m10","userId":"u10"}`)
		time.Sleep(time.Second)
		conn := p.conn()
		var n uint64
		if err := conn.QueryRow(t.Context(), "SELECT count() FROM events WHERE user_id = 'u10'").Scan(&n); err != nil || n != 0 {
			t.Errorf("%d events were stored while suspended, %v", n, err)
		}
		edit(p, &v1alpha1.Platform{}, platformName, func(o *v1alpha1.Platform) { o.Spec.Suspend = false })
		p.until("caught up", &v1alpha1.Platform{}, platformName, `"profiles":4`)
	})
	p.run("audiences are computed before they are applied", func(t *testing.T) { previews(t, p) })
	t.Run("accounts", func(t *testing.T) { accounts(t, p) })
	p.run("a tracking plan is followed", func(t *testing.T) { violations(t, p) })
	p.run("every answer is as documented", func(t *testing.T) { documented(t, p) })
	p.run("a key opens its scopes", func(t *testing.T) { keys(t, p) })
	p.run("a guard keeps back what changes too much", func(t *testing.T) { guarding(t, p) })
	p.run("earlier members are brought back", func(t *testing.T) { rollingBack(t, p) })
	p.run("an identifier is cut out of its profile", func(t *testing.T) { unmerging(t, p) })
	p.stop()
}

func accounts(t *testing.T, p *place) {
	p.send(time.Now(), `{"type":"group","messageId":"g1","userId":"u1","groupId":"acme/1","traits":{"plan":"team"}}`,
		`{"type":"group","messageId":"g2","userId":"u2","groupId":"acme/1","traits":{"plan":"enterprise"}}`)
	const path = "/v1/accounts/acme%2F1"
	var status int
	var body string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if status, body = p.get(p.config.Listen, path, apiToken); status == http.StatusOK {
			break
		}
	}
	if status != http.StatusOK || !strings.Contains(body, `"plan":{"value":"enterprise","source":"web"`) || !strings.Contains(body, `"members":2`) {
		t.Errorf("the account is %d %s", status, body)
	}
	if status, body = p.get(p.config.Listen, "/v1/profiles/userId:u1/links", apiToken); status != http.StatusOK || !strings.Contains(body, `"accounts":[{"account":"acme/1"`) {
		t.Errorf("the customer's accounts are %d %s", status, body)
	}
	var page struct {
		Members []struct{ Profile string }
		Next    string
	}
	seen := map[string]bool{}
	for pages := 1; ; pages++ {
		status, body = p.get(p.config.Listen, path+"/members?limit=1&cursor="+page.Next, apiToken)
		page.Next, page.Members = "", nil
		if err := json.Unmarshal([]byte(body), &page); err != nil || status != http.StatusOK || len(page.Members) != 1 {
			t.Fatalf("page %d of the members is %d %s", pages, status, body)
		}
		seen[page.Members[0].Profile] = true
		if page.Next == "" {
			break
		}
	}
	if len(seen) != 2 {
		t.Errorf("the pages show members %v, want 2 different ones", seen)
	}
	for path, code := range map[string]string{
		"/v1/accounts/nobody": "AccountNotFound", "/v1/accounts/" + strings.Repeat("x", 501): "BadAccount",
		path + "/members?limit=0": "BadLimit", path + "/members?cursor=!": "BadCursor", "/v1/profiles/userId:nobody/links": "ProfileNotFound",
	} {
		if _, body := p.get(p.config.Listen, path, apiToken); !strings.Contains(body, `"code":"`+code+`"`) {
			t.Errorf("%.40s gives %s, want %s", path, body, code)
		}
	}
}

func profiles(t *testing.T, p *place) {
	for _, c := range []struct {
		why, path, token string
		status           int
		says             []string
	}{
		{"by a user id", "/v1/profiles/userId:u1", apiToken, 200, []string{`"email":["ada@example.com"]`, `"plan":{"value":"pro","source":"web"`, `"audiences":[{"name":"buyers"`, `"touchpoints":[{"source":"web","events":2`, `"event":"Order Completed"`}},
		{"an e-mail as a person writes it", "/v1/profiles/email:ADA@example.com", apiToken, 200, []string{`"userId":["u1"]`}},
		{"fewer events", "/v1/profiles/userId:u1?events=0", apiToken, 200, []string{`"events":[]`}},
		{"nobody", "/v1/profiles/userId:nobody", apiToken, 404, []string{`"code":"ProfileNotFound"`}},
		{"a value that is quoted badly", "/v1/profiles/userId:x'%20OR%201=1%20--", apiToken, 404, []string{`"code":"ProfileNotFound"`}},
		{"no identifier", "/v1/profiles/u1", apiToken, 400, []string{`"code":"BadIdentifier"`}},
		{"a value without end", "/v1/profiles/userId:" + strings.Repeat("x", 2000), apiToken, 400, []string{`"code":"BadIdentifier"`}},
		{"too many events", "/v1/profiles/userId:u1?events=100000", apiToken, 400, []string{`"code":"BadLimit"`}},
		{"traits alone", "/v1/profiles/userId:u1/traits", apiToken, 200, []string{`{"id":"`, `"traits":{`, `"plan":{"value":"pro","source":"web"`}},
		{"identifiers alone", "/v1/profiles/userId:u1/identifiers", apiToken, 200, []string{`"email":["ada@example.com"]`}},
		{"audiences alone", "/v1/profiles/userId:u1/audiences", apiToken, 200, []string{`"audiences":[{"name":"buyers"`}},
		{"events by name", "/v1/profiles/userId:u1/events?event=Order%20Completed&since=1970-01-02T00:00:00Z", apiToken, 200, []string{`"events":[{"event":"Order Completed"`}},
		{"a page that is not the last", "/v1/profiles/userId:u1/events?limit=1", apiToken, 200, []string{`"next":"`}},
		{"parts of nobody", "/v1/profiles/userId:nobody/audiences", apiToken, 404, []string{`"code":"ProfileNotFound"`}},
		{"a page of nothing", "/v1/profiles/userId:u1/events?limit=0", apiToken, 400, []string{`"code":"BadLimit"`}},
		{"no time", "/v1/profiles/userId:u1/events?since=yesterday", apiToken, 400, []string{`"code":"BadSince"`}},
		{"no cursor of ours", "/v1/profiles/userId:u1/events?cursor=x", apiToken, 400, []string{`"code":"BadCursor"`}},
		{"parts need the token too", "/v1/profiles/userId:u1/audiences", "", 401, []string{`"code":"Unauthorized"`}},
		{"another path", "/v2", apiToken, 404, []string{`"code":"NoSuchPath"`}},
		{"why two identifiers are one", "/v1/identity/explain?from=userId:u1&to=email:ADA@example.com", apiToken, 200, []string{`"from":"userId:u1","to":"email:ada@example.com"`, `"source":"web"`}},
		{"why nobody is one", "/v1/identity/explain?from=userId:u1&to=userId:nobody", apiToken, 404, []string{`"code":"ProfileNotFound"`}},
		{"why, of half a question", "/v1/identity/explain?from=userId:u1", apiToken, 400, []string{`"code":"BadIdentifier"`}},
		{"no token", "/v1/profiles/userId:u1", "", 401, []string{`"code":"Unauthorized"`}},
		{"a part of the token", "/v1/profiles/userId:u1", apiToken[:5], 401, []string{`"code":"Unauthorized"`}},
		{"a path that is not there tells nothing without a token", "/v2", "", 401, nil},
	} {
		status, body := p.get(p.config.Listen, c.path, c.token)
		if status != c.status {
			t.Errorf("%s: status %d, want %d: %s", c.why, status, c.status, body)
		}
		for _, part := range c.says {
			if !strings.Contains(body, part) {
				t.Errorf("%s: %s is not in %s", c.why, part, body)
			}
		}
	}
}

// operatorsShare writes what the operator owns in an Audience's status.
func operatorsShare(p *place, name string) {
	p.t.Helper()
	o := &unstructured.Unstructured{Object: map[string]any{"status": map[string]any{
		"synced": "1/1", "conditions": []any{map[string]any{"type": "Ready", "status": "True", "reason": "Ready", "message": "", "lastTransitionTime": "2026-11-23T12:00:00Z"}},
	}}}
	o.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("Audience"))
	o.SetNamespace(namespace)
	o.SetName(name)
	if err := p.k8s.Status().Apply(p.t.Context(), client.ApplyConfigurationFromUnstructured(o), client.FieldOwner("kohort-operator"), client.ForceOwnership); err != nil {
		p.t.Fatal(err)
	}
}

// requestNow asks for a run now, as kubectl annotate does.
func requestNow(p *place, name, value string) {
	p.t.Helper()
	edit(p, &v1alpha1.Audience{}, name, func(a *v1alpha1.Audience) {
		a.Annotations = map[string]string{v1alpha1.RequestedAtAnnotation: value}
	})
}

// versions of all objects that the engine writes to.
func versions(p *place) string {
	p.t.Helper()
	var out []string
	for _, list := range []client.ObjectList{&v1alpha1.PlatformList{}, &v1alpha1.SourceList{}, &v1alpha1.AudienceList{}, &v1alpha1.RetentionPolicyList{}} {
		if err := p.k8s.List(p.t.Context(), list, client.InNamespace(namespace)); err != nil {
			p.t.Fatal(err)
		}
		switch list := list.(type) {
		case *v1alpha1.PlatformList:
			for _, o := range list.Items {
				out = append(out, o.Name+" "+o.ResourceVersion)
			}
		case *v1alpha1.SourceList:
			for _, o := range list.Items {
				out = append(out, o.Name+" "+o.ResourceVersion)
			}
		case *v1alpha1.AudienceList:
			for _, o := range list.Items {
				out = append(out, o.Name+" "+o.ResourceVersion)
			}
		case *v1alpha1.RetentionPolicyList:
			for _, o := range list.Items {
				out = append(out, o.Name+" "+o.ResourceVersion)
			}
		}
	}
	return strings.Join(out, ", ")
}
