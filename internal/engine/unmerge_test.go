package engine

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/internal/unmerge"
)

// unmerging parts a customer from the device of another.
func unmerging(t *testing.T, p *place) {
	p.send(time.Now(), `{"type":"identify","messageId":"x1","userId":"x1","anonymousId":"xa","traits":{"email":"x1@example.com"}}`,
		`{"type":"track","event":"Seen","messageId":"x2","anonymousId":"xa","properties":{"n":9}}`, `{"type":"track","event":"Seen","messageId":"x3","userId":"x1"}`)
	p.eventually("one customer", 20*time.Second, func() error {
		status, body := p.get(p.config.Listen, "/v1/profiles/anonymousId:xa", apiToken)
		if status != http.StatusOK || !strings.Contains(body, `"messageId":"x3"`) {
			return fmt.Errorf("%d %s", status, body)
		}
		return nil
	})
	post := func(query string, status int) (out Unmerged) {
		t.Helper()
		got, body := p.ask(http.MethodPost, p.config.Listen, "/v1/identity/unmerge?"+query, apiToken)
		if got != status {
			t.Fatalf("%s: %d %s, want %d", query, got, body, status)
		}
		if status == http.StatusOK {
			if err := json.Unmarshal([]byte(body), &out); err != nil {
				t.Fatal(err)
			}
		}
		return out
	}
	sees := func(want bool) {
		t.Helper()
		_, body := p.get(p.config.Listen, "/v1/profiles/userId:x1", apiToken)
		if strings.Contains(body, `"messageId":"x2"`) != want || !strings.Contains(body, `"messageId":"x3"`) {
			t.Errorf("x1 is %s", body)
		}
	}
	divided := func(u Unmerged) {
		t.Helper()
		var said []string
		for _, part := range u.Profiles {
			said = append(said, fmt.Sprintf("%s kept=%t events=%d", strings.Join(part.Identifiers, ","), part.Kept, part.Events))
		}
		want := []string{"email:x1@example.com,userId:x1 kept=true events=2", "anonymousId:xa kept=false events=1"}
		if !slices.Equal(said, want) {
			t.Errorf("it divides into %v, want %v", said, want)
		}
	}

	foreseen := post("identifier=anonymousId:xa&dryRun=true", http.StatusOK)
	if foreseen.Applied || !foreseen.DryRun || foreseen.Message != 0 {
		t.Errorf("a dry run answers %+v", foreseen)
	}
	divided(foreseen)
	sees(true)
	for query, code := range map[string]string{
		"": "400 BadIdentifier", "identifier=anonymousId:xa&from=x1": "400 BadIdentifier", "identifier=anonymousId:xa&dryRun=perhaps": "400 BadDryRun",
		"identifier=userId:nobody": "404 ProfileNotFound", "identifier=anonymousId:xa&from=userId:u2": "404 NotOneProfile",
		// All three are in one event, so that any two hang together by the third.
		"identifier=anonymousId:xa&from=userId:x1": "409 StillTied",
	} {
		status, body := p.ask(http.MethodPost, p.config.Listen, "/v1/identity/unmerge?"+query, apiToken)
		if number, word, _ := strings.Cut(code, " "); fmt.Sprint(status) != number || !strings.Contains(body, `"code":"`+word+`"`) {
			t.Errorf("%s gives %d %s, want %s", query, status, body, code)
		}
	}
	if status, _ := p.ask(http.MethodPost, p.config.Listen, "/v1/identity/unmerge?identifier=anonymousId:xa", ""); status != http.StatusUnauthorized {
		t.Errorf("without the token it is %d", status)
	}
	sees(true)

	done := post("identifier=anonymousId:xa", http.StatusOK)
	if !done.Applied || done.DryRun || done.Message == 0 {
		t.Errorf("a cut answers %+v", done)
	}
	divided(done)
	if ids := func(u Unmerged) (ids []string) {
		for _, part := range u.Profiles {
			ids = append(ids, part.ID)
		}
		return ids
	}; !slices.Equal(ids(done), ids(foreseen)) {
		t.Errorf("foreseen were profiles %v, they are %v", ids(foreseen), ids(done))
	}
	sees(false)
	if status, body := p.get(p.config.Listen, "/v1/identity/explain?from=userId:x1&to=anonymousId:xa", apiToken); status != http.StatusNotFound || !strings.Contains(body, "cut apart by hand on") {
		t.Errorf("why they are two: %d %s", status, body)
	}
	post("identifier=anonymousId:xa", http.StatusConflict)

	// What would have merged them does not.
	p.send(time.Now(), `{"type":"track","event":"Seen","messageId":"x4","userId":"x1","anonymousId":"xa"}`)
	p.eventually("the event is x1's", 20*time.Second, func() error {
		if _, body := p.get(p.config.Listen, "/v1/profiles/userId:x1", apiToken); !strings.Contains(body, `"messageId":"x4"`) {
			return fmt.Errorf("%s", body)
		}
		return nil
	})
	sees(false)

	// While nothing is ingested, a request waits in the stream.
	edit(p, &v1alpha1.Platform{}, platformName, func(o *v1alpha1.Platform) { o.Spec.Suspend = true })
	p.eventually("ingestion stops", 10*time.Second, func() error {
		if _, body := p.get(p.config.HealthListen, "/metrics", ""); strings.Contains(body, "kohort_ingest_lag_messages") {
			return fmt.Errorf("it still runs")
		}
		return nil
	})
	later := post("identifier=email:x1@example.com&from=userId:x1", http.StatusOK)
	if later.Applied || later.DryRun || later.Message == 0 || !slices.ContainsFunc(later.Profiles, func(p unmerge.Profile) bool { return !p.Kept && p.Identifiers[0] == "email:x1@example.com" }) {
		t.Errorf("a cut that waits answers %+v", later)
	}
	edit(p, &v1alpha1.Platform{}, platformName, func(o *v1alpha1.Platform) { o.Spec.Suspend = false })
	p.eventually("it is carried out", 20*time.Second, func() error {
		if _, body := p.get(p.config.Listen, "/v1/profiles/userId:x1", apiToken); strings.Contains(body, "x1@example.com\"]") {
			return fmt.Errorf("%s", body)
		}
		return nil
	})
}
