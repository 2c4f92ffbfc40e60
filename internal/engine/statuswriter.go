package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kohort.dev/kohort/api/v1alpha1"
)

const (
	// statusEvery is how old what a status says may be; statusAtLeast is the time between two looks when facts change.
	statusEvery   = 5 * time.Second
	statusAtLeast = time.Second
	// quiet is how long a write that changes nothing but the time of an evaluation waits.
	quiet = time.Minute
	// settle is how long the cache may show a status of before our last write.
	settle = 30 * time.Second
)

// statusWriter brings statuses to what the facts say, and makes no call when they say it already.
type statusWriter struct {
	objects  objects
	client   client.StatusClient
	recorder events.EventRecorder
	facts    *facts
	metrics  *metrics
	logger   *slog.Logger
	now      func() time.Time

	written map[types.UID]written
}

type written struct {
	status map[string]any
	at     time.Time
}

// run writes until ctx ends.
func (w *statusWriter) run(ctx context.Context) error {
	for {
		if err := w.pass(ctx); err != nil && ctx.Err() == nil {
			w.logger.Warn("writing status; trying again", "error", err.Error())
		}
		if !pause(ctx, statusAtLeast) {
			return nil
		}
		select {
		case <-w.facts.changed:
		case <-time.After(statusEvery - statusAtLeast):
		case <-ctx.Done():
			return nil
		}
	}
}

// pass looks at every object once. One that fails does not hold the others up.
func (w *statusWriter) pass(ctx context.Context) error {
	seen := w.facts.read()
	now := w.now()
	var errs []error
	write := func(o client.Object, s share, current, desired any) {
		errs = append(errs, w.write(ctx, o, s, current, desired))
	}
	platform, err := w.objects.get(ctx)
	errs = append(errs, err)
	if platform != nil && seen.census != nil {
		desired := platformStatus(platform, seen.census)
		write(platform, platformShare, &platform.Status, &desired)
	}
	sources, err := w.objects.sources(ctx)
	errs = append(errs, err)
	for _, s := range sources {
		if seen.census != nil {
			desired := sourceStatus(s, seen.census, now)
			write(s, sourceShare, &s.Status, &desired)
		}
	}
	audiences, _, err := w.objects.audiences(ctx)
	errs = append(errs, err)
	for _, a := range audiences {
		desired := audienceStatus(a, seen.audience(a.UID), seen.flows, now)
		write(a, audienceShare, &a.Status, &desired)
	}
	policies, err := w.objects.policies(ctx)
	errs = append(errs, err)
	for _, p := range policies {
		if f, ok := seen.policies[p.UID]; ok {
			desired := policyStatus(p, f, now)
			write(p, policyShare, &p.Status, &desired)
		}
	}
	return errors.Join(errs...)
}

func (s snapshot) audience(uid types.UID) *audienceFacts {
	if f, ok := s.audiences[uid]; ok {
		return &f
	}
	return nil
}

// write applies the engine's share of desired when current differs in it.
func (w *statusWriter) write(ctx context.Context, o client.Object, s share, current, desired any) error {
	have, err := s.of(current)
	if err != nil {
		return err
	}
	want, err := s.of(desired)
	if err != nil {
		return err
	}
	now := w.now()
	if !worth(have, want) {
		return nil
	}
	if last, ok := w.written[o.GetUID()]; ok && now.Sub(last.at) < settle && !worth(last.status, want) {
		return nil // the cache does not show it yet
	}
	object := &unstructured.Unstructured{Object: map[string]any{"status": want}}
	object.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(s.kind))
	object.SetNamespace(o.GetNamespace())
	object.SetName(o.GetName())
	object.SetUID(o.GetUID()) // another object of the same name is refused
	err = w.client.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(object), client.FieldOwner(fieldManager), client.ForceOwnership)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // it is gone, or another one has taken its name
	}
	if err != nil {
		w.metrics.writes.WithLabelValues(s.kind, "failed").Inc()
		return fmt.Errorf("writing the status of %s %s: %w", s.kind, o.GetName(), err)
	}
	w.metrics.writes.WithLabelValues(s.kind, "written").Inc()
	w.written[o.GetUID()] = written{want, now}
	if s.told {
		w.tell(o, have, want)
	}
	return nil
}

// tell records an Event when the condition of a share has changed.
func (w *statusWriter) tell(o client.Object, have, want map[string]any) {
	was, is := conditionIn(have), conditionIn(want)
	if is == nil || was["status"] == is["status"] && was["reason"] == is["reason"] {
		return
	}
	kind := corev1.EventTypeNormal
	if is["status"] != string(metav1.ConditionTrue) {
		kind = corev1.EventTypeWarning
	}
	w.recorder.Eventf(o, nil, kind, fmt.Sprint(is["reason"]), "Observe", "%s", is["message"])
}

// conditionIn gives the condition of a share, nil without one.
func conditionIn(share map[string]any) map[string]any {
	conditions, _ := share["conditions"].([]any)
	if len(conditions) == 0 {
		return nil
	}
	condition, _ := conditions[0].(map[string]any)
	return condition
}

// worth says whether want tells something that have does not: anything, or a time of evaluation that is a minute newer.
func worth(have, want map[string]any) bool {
	if reflect.DeepEqual(have, want) {
		return false
	}
	const field = "evaluated"
	before, after := timeIn(have[field]), timeIn(want[field])
	if before.IsZero() || after.Sub(before) >= quiet {
		return true
	}
	rest := make(map[string]any, len(want))
	for key, value := range want {
		rest[key] = value
	}
	rest[field] = have[field]
	return !reflect.DeepEqual(have, rest)
}

func timeIn(value any) time.Time {
	text, _ := value.(string)
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}
	}
	return t
}
