//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kohort.dev/kohort/test/demo/check"
	"kohort.dev/kohort/test/demo/population"
	"kohort.dev/kohort/test/demo/world"
)

// commandLine is the program kohort, as a person has it.
type commandLine struct {
	t       *testing.T
	w       world.World
	program string
}

func (c commandLine) try(args ...string) (string, error) {
	args = append(args, "--kubeconfig", c.w.Kubectl.Kubeconfig, "--namespace", c.w.Place.Namespace)
	out, err := exec.CommandContext(c.t.Context(), c.program, args...).CombinedOutput() //nolint:gosec // built from this tree
	return string(out), err
}

func (c commandLine) run(args ...string) string {
	c.t.Helper()
	out, err := c.try(args...)
	if err != nil {
		c.t.Fatalf("kohort %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// send posts a batch to the website's collector.
func (c commandLine) send(batch string) {
	c.t.Helper()
	key, err := c.w.Kubectl.Secret(c.t.Context(), "web-write-key", "writeKey")
	must(c.t, err)
	address, stop, err := c.w.Kubectl.Forward(c.t.Context(), "service/web-collector", 80)
	must(c.t, err)
	defer stop()
	request, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, "http://"+address+"/v1/batch", strings.NewReader(batch))
	must(c.t, err)
	request.SetBasicAuth(strings.TrimSpace(key), "")
	response, err := http.DefaultClient.Do(request)
	must(c.t, err)
	must(c.t, response.Body.Close())
	if response.StatusCode != http.StatusOK {
		c.t.Fatalf("the collector answers %s", response.Status)
	}
}

// commandsWork tries the commands that need a cluster: a record at a destination, and an identifier that is cut out.
func commandsWork(t *testing.T, w world.World, _ *population.Population) {
	c := commandLine{t, w, filepath.Join(t.TempDir(), "kohort")}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", c.program, "kohort.dev/kohort/cmd/kohort").CombinedOutput(); err != nil {
		t.Fatalf("building the command line: %v\n%s", err, out)
	}
	t.Run("destination test", func(t *testing.T) {
		c.t = t
		c.recordAtTheMailer()
	})
	t.Run("identity unmerge", func(t *testing.T) {
		c.t = t
		c.unmerge()
	})
}

func (c commandLine) recordAtTheMailer() {
	const person = "ada@example.com"
	test := []string{"destination", "test", "mailer", "--identifier", "email=" + person, "--trait", "tier=gold"}
	held := func() int {
		audience, err := check.Mailer(c.t.Context(), c.w.Kubectl, "kohort-test")
		must(c.t, err)
		return audience.Count
	}
	for _, step := range []struct {
		flags []string
		says  string
		holds int
	}{{nil, "NotSent", 0}, {[]string{"--send"}, "Delivered", 1}, {[]string{"--send", "--remove"}, "Delivered", 0}} {
		out := c.run(append(test[:len(test):len(test)], step.flags...)...)
		if !strings.Contains(out, step.says) || !strings.Contains(out, "Authorization: Bearer …") || strings.Contains(out, person) || strings.Contains(out, `"run": "-`) {
			c.t.Errorf("with %v it says\n%s\nwant %s, and neither token nor address", step.flags, out, step.says)
		}
		if n := held(); n != step.holds {
			c.t.Errorf("with %v the mailer holds %d, want %d", step.flags, n, step.holds)
		}
	}
}

// unmerge cuts one of somebody's two devices out, and asks for both afterwards.
func (c commandLine) unmerge() {
	c.send(`{"batch":[{"type":"identify","messageId":"cut-1","userId":"u-cut","anonymousId":"d-own"},
		{"type":"track","messageId":"cut-2","event":"Seen","userId":"u-cut","anonymousId":"d-lent"}]}`)
	await(c.t, time.Minute, func(context.Context) (string, error) {
		if out, err := c.try("profile", "get", "anonymousId:d-lent", "--platform", "shop"); err != nil {
			return fmt.Sprintf("%s (%v)", out, err), nil
		}
		return "", nil
	})
	profile := func(identifier string) string {
		var answer struct {
			ID string `json:"id"`
		}
		must(c.t, json.Unmarshal([]byte(c.run("profile", "get", identifier, "--platform", "shop", "-o", "json")), &answer))
		return answer.ID
	}
	if own, lent := profile("anonymousId:d-own"), profile("anonymousId:d-lent"); own != lent {
		c.t.Fatalf("before, the devices are of %s and %s", own, lent)
	}
	cut := []string{"identity", "unmerge", "anonymousId:d-lent", "--platform", "shop"}
	if out := c.run(append(cut[:len(cut):len(cut)], "--dry-run")...); !strings.Contains(out, "would become 2 (dry run)") {
		c.t.Errorf("the dry run says\n%s", out)
	}
	if own, lent := profile("anonymousId:d-own"), profile("anonymousId:d-lent"); own != lent {
		c.t.Errorf("after a dry run the devices are of %s and %s", own, lent)
	}
	if out := c.run(cut...); !strings.Contains(out, "become 2") {
		c.t.Errorf("it says\n%s", out)
	}
	await(c.t, time.Minute, func(context.Context) (string, error) {
		if own, lent := profile("anonymousId:d-own"), profile("anonymousId:d-lent"); own == lent {
			return "the devices are still one person's", nil
		}
		return "", nil
	})
	if own, user := profile("anonymousId:d-own"), profile("userId:u-cut"); own != user {
		c.t.Errorf("the other device left too: %s and %s", own, user)
	}
}
