// Package world sets the demo's shop up in one namespace of a cluster and lets its life happen: the database, the mail
// tool and the support desk, Kohort's resources, the traffic, and the wait until everything has arrived.
package world

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/test/demo/kubectl"
	"kohort.dev/kohort/test/demo/manifests"
	"kohort.dev/kohort/test/demo/population"
)

// World is a shop in a namespace.
type World struct {
	Kubectl kubectl.Kubectl // in the shop's namespace
	Place   manifests.Place
	// Say tells a person what happens.
	Say func(format string, args ...any)
	// Now is the time of day.
	Now func() time.Time
	// Pace is the time from one request to the next at each of the website and the app; 0 is as fast as they are answered.
	Pace time.Duration
}

// startTime is how long pods may take to be ready: images are there already, so this is processes starting on a busy
// machine.
const startTime = 3 * time.Minute

// Found makes the namespace and everything that is not Kohort's: Secrets, database, mail tool, support desk, and the CRM's
// rows. It returns the population that lives there; a namespace that has one keeps it, so that a second call makes no
// second history.
func (w World) Found(ctx context.Context, c population.Config) (*population.Population, error) {
	if err := w.Apply(ctx, "00-namespace.yaml"); err != nil {
		return nil, err
	}
	c, err := w.settleConfig(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := w.makeSecrets(ctx); err != nil {
		return nil, err
	}
	w.Say("starting the shop's own database, mail tool and support desk")
	for _, file := range []string{"world/database.yaml", "world/mailer.yaml", "world/support-desk.yaml"} {
		if err := w.Apply(ctx, file); err != nil {
			return nil, err
		}
	}
	deployments := []string{"deployment/database", "deployment/mailer", "deployment/support-desk"}
	if err := w.Kubectl.Wait(ctx, "condition=Available", startTime, deployments...); err != nil {
		return nil, err
	}
	w.Say("filling the CRM with %d customers", c.Customers)
	if _, err := w.RunJob(ctx, "customers", "world/customers.yaml"); err != nil {
		return nil, err
	}
	return population.Generate(c)
}

// Apply applies the manifests that match a pattern.
func (w World) Apply(ctx context.Context, pattern string) error {
	text, err := w.Place.Read(pattern)
	if err != nil {
		return err
	}
	return w.Kubectl.Apply(ctx, text)
}

// settleConfig keeps the population's config in the namespace, where pods read it, and takes the one that is there.
func (w World) settleConfig(ctx context.Context, c population.Config) (population.Config, error) {
	there, err := w.Kubectl.Exists(ctx, "configmap", "population")
	if err != nil {
		return c, err
	}
	if !there {
		_, err := w.Kubectl.Run(ctx, "create", "configmap", "population",
			"--from-literal=SEED="+strconv.FormatUint(c.Seed, 10),
			"--from-literal=CUSTOMERS="+strconv.Itoa(c.Customers),
			"--from-literal=CLOCK="+c.Clock.UTC().Format(time.RFC3339),
			"--from-literal=PACE="+w.Pace.String())
		return c, err
	}
	old, err := w.readConfig(ctx)
	if err != nil {
		return c, err
	}
	if old.Seed != c.Seed || old.Customers != c.Customers {
		return c, fmt.Errorf("the namespace %s holds a shop with seed %d and %d customers, another one was asked for: take the old one away first (make demo-down)",
			w.Place.Namespace, old.Seed, old.Customers)
	}
	return old, nil
}

func (w World) readConfig(ctx context.Context) (population.Config, error) {
	var config struct {
		Data map[string]string `json:"data"`
	}
	if err := w.Kubectl.Get(ctx, "configmap", "population", &config); err != nil {
		return population.Config{}, err
	}
	seed, seedErr := strconv.ParseUint(config.Data["SEED"], 10, 64)
	customers, customersErr := strconv.Atoi(config.Data["CUSTOMERS"])
	clock, clockErr := time.Parse(time.RFC3339, config.Data["CLOCK"])
	for _, err := range []error{seedErr, customersErr, clockErr} {
		if err != nil {
			return population.Config{}, fmt.Errorf("reading the ConfigMap population: %w", err)
		}
	}
	return population.Config{Seed: seed, Customers: customers, Clock: clock}, nil
}

// makeSecrets makes the shop's passwords where there are none yet.
func (w World) makeSecrets(ctx context.Context) error {
	password, token := rand.Text(), rand.Text()
	for name, literals := range map[string][]string{
		"database":     {"--from-literal=password=" + password, "--from-literal=dsn=postgres://postgres:" + password + "@database:5432/shop?sslmode=disable"},
		"mailer-token": {"--from-literal=token=" + token},
	} {
		there, err := w.Kubectl.Exists(ctx, "secret", name)
		if err != nil {
			return err
		}
		if there {
			continue
		}
		if _, err := w.Kubectl.Run(ctx, append([]string{"create", "secret", "generic", name}, literals...)...); err != nil {
			return fmt.Errorf("making the Secret %s failed", name) // the cause would show the password
		}
	}
	return nil
}

// job is what is read of a Job.
type job struct {
	Status struct {
		Conditions []struct {
			Type    string `json:"type"`
			Status  string `json:"status"`
			Message string `json:"message"`
		} `json:"conditions"`
	} `json:"status"`
}

// RunJob runs a Job of the manifests anew, to its end, and returns what it printed.
func (w World) RunJob(ctx context.Context, name, file string) (string, error) {
	if err := w.StartJob(ctx, name, file); err != nil {
		return "", err
	}
	return w.AwaitJob(ctx, name)
}

// StartJob starts a Job of the manifests anew.
func (w World) StartJob(ctx context.Context, name, file string) error {
	// A Job cannot be changed, so an earlier one has to go.
	if _, err := w.Kubectl.Run(ctx, "delete", "job", name, "--ignore-not-found", "--wait"); err != nil {
		return err
	}
	return w.Apply(ctx, file)
}

// AwaitJob waits for the end of a Job and returns what it printed.
func (w World) AwaitJob(ctx context.Context, name string) (string, error) {
	var failed string
	err := Until(ctx, 10*time.Minute, func(ctx context.Context) (string, error) {
		var j job
		if err := w.Kubectl.Get(ctx, "job", name, &j); err != nil {
			return "", err
		}
		for _, c := range j.Status.Conditions {
			if c.Status == "True" && (c.Type == "Complete" || c.Type == "Failed") {
				if c.Type == "Failed" {
					failed = c.Message
				}
				return "", nil
			}
		}
		return "it still runs", nil
	})
	if err != nil {
		return "", fmt.Errorf("waiting for the Job %s: %w", name, err)
	}
	out, err := w.Kubectl.Run(ctx, "logs", "job/"+name, "--tail=20")
	if failed != "" {
		return "", fmt.Errorf("the Job %s failed (%s): %s", name, failed, out)
	}
	return strings.TrimSpace(out), err
}

// Until asks again and again until nothing is missing, which an empty answer says, or the time is up. An error of asking
// is tried again too, for a busy API server may refuse a call.
func Until(ctx context.Context, limit time.Duration, missing func(context.Context) (string, error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	last := "nothing was seen"
	for {
		state, err := missing(ctx)
		switch {
		case err == nil && state == "":
			return nil
		case err != nil && ctx.Err() == nil:
			last = err.Error()
		case err == nil:
			last = state
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w after %s: %s", ctx.Err(), limit, last)
		case <-time.After(time.Second):
		}
	}
}

// traffic is what a traffic Job prints.
type traffic struct {
	Requests, Events, Retries int64
	Seconds                   float64
}

// Traffic lets everything happen on the website and in the app, at the same time. The CRM and the support desk are read by
// themselves; in a world that is visited again they are read again.
func (w World) Traffic(ctx context.Context) error {
	if err := w.readAgain(ctx, "crm", "support"); err != nil {
		return err
	}
	jobs := map[string]string{"web-traffic": "world/web-traffic.yaml", "app-traffic": "world/app-traffic.yaml"}
	for name, file := range jobs {
		if err := w.StartJob(ctx, name, file); err != nil {
			return err
		}
	}
	for name := range jobs {
		out, err := w.AwaitJob(ctx, name)
		if err != nil {
			return err
		}
		var t traffic
		if err := json.Unmarshal([]byte(out), &t); err != nil {
			return fmt.Errorf("reading what %s printed (%s): %w", name, out, err)
		}
		w.Say("  %s: %d events in %d requests acknowledged within %.1fs, %d sent again", name, t.Events, t.Requests, t.Seconds, t.Retries)
	}
	return nil
}

// readAgain asks for a run of those Sources that have had one.
func (w World) readAgain(ctx context.Context, sources ...string) error {
	for _, name := range sources {
		var source v1alpha1.Source
		if err := w.Kubectl.Get(ctx, "source", name, &source); err != nil {
			return err
		}
		if last := source.Status.LastRun; last == nil || last.Result == v1alpha1.RunRunning {
			continue
		}
		if err := w.Kubectl.RunNow(ctx, "source/"+name, strconv.FormatInt(w.Now().Unix(), 10)); err != nil {
			return err
		}
	}
	return nil
}
