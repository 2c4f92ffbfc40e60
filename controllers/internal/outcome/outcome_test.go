package outcome

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"kohort.dev/kohort/api/v1alpha1"
)

var (
	errConflict = fmt.Errorf("writing: %w", apierrors.NewConflict(schema.GroupResource{Resource: "syncs"}, "x", errors.New("newer")))
	errInvalid  = fmt.Errorf("applying: %w", apierrors.NewInvalid(schema.GroupKind{Kind: "Deployment"}, "x", nil))
	errBroken   = errors.New("connection refused")
)

// known is an error that knows its outcome, as that of a taken name.
type known struct{}

func (known) Error() string    { return "taken" }
func (known) Outcome() Outcome { return Stall("NameTaken", "taken") }

func TestSummarise(t *testing.T) {
	for _, c := range []struct {
		why     string
		outcome Outcome
		want    string // Ready, Reconciling, Stalled, observedGeneration
		event   string
		after   time.Duration
		err     bool
	}{
		{"done", Done("Ready", "m"), "True - - 7", "Normal", 0, false},
		{"done until the next slot", Done("Ready", "m").Again(time.Hour), "True - - 7", "Normal", time.Hour, false},
		{"under way", Progress("Progressing", "m"), "False True - 5", "Normal", 0, false},
		{"something is missing", Wait("SecretNotFound", "m"), "False True - 5", "Warning", 0, false},
		{"a person is needed", Stall("InvalidSpec", "m"), "False - True 7", "Warning", 0, false},
		{"an error", Retry(errBroken), "Unknown True - 5", "Warning", 0, true},
		{"a conflict is no news", Retry(errConflict), "True - - 5", "Warning", conflictPause, false},
		{"what the API server calls invalid is the spec's fault", Of(errInvalid), "False - True 7", "Warning", 0, false},
		{"an error that knows, among others", Of(errors.Join(errBroken, known{})), "False - True 7", "Warning", 0, false},
		{"any other error", Of(errBroken), "Unknown True - 5", "Warning", 0, true},
	} {
		t.Run(c.why, func(t *testing.T) {
			// Before, it was Ready at generation 5.
			status := &v1alpha1.CommonStatus{}
			Done("Ready", "m").Summarise(status, 5, time.Unix(1, 0))
			c.outcome.Summarise(status, 7, time.Unix(2, 0))
			var parts []string
			for _, name := range []string{"Ready", "Reconciling", "Stalled"} {
				part := "-"
				if condition := meta.FindStatusCondition(status.Conditions, name); condition != nil {
					part = string(condition.Status)
				}
				parts = append(parts, part)
			}
			if got := fmt.Sprintf("%s %d", strings.Join(parts, " "), status.ObservedGeneration); got != c.want {
				t.Errorf("conditions = %q, want %q", got, c.want)
			}
			if got := c.outcome.EventType(); got != c.event {
				t.Errorf("event = %s, want %s", got, c.event)
			}
			result, err := c.outcome.Result()
			if result.RequeueAfter != c.after || (err != nil) != c.err {
				t.Errorf("result = %+v, %v", result, err)
			}
		})
	}
}

func TestBut(t *testing.T) {
	fault := Stall("TrackingPlanInvalid", "correct it")
	for _, c := range []struct {
		why  string
		got  Outcome
		want Outcome
	}{
		{"what works is stalled, and looks again when it would have", Done("Ready", "m").Again(time.Hour).But(fault), fault.Again(time.Hour)},
		{"what waits waits for a person first", Wait("SecretNotFound", "m").But(fault), fault},
		{"an error of the machinery is tried again", Retry(errBroken).But(fault), Retry(errBroken)},
		{"what is gone is gone", Released().But(fault), Released()},
	} {
		if c.got != c.want {
			t.Errorf("%s: %+v, want %+v", c.why, c.got, c.want)
		}
	}
}

// A condition that stays as it was keeps its transition time, or every pass would write.
func TestTransitionTimeStays(t *testing.T) {
	status := &v1alpha1.CommonStatus{}
	Wait("SecretNotFound", "m").Summarise(status, 1, time.Unix(1, 0))
	before := status.DeepCopy()
	Wait("SecretNotFound", "m").Summarise(status, 1, time.Unix(99, 0))
	if !meta.FindStatusCondition(status.Conditions, "Ready").LastTransitionTime.Equal(&before.Conditions[0].LastTransitionTime) {
		t.Error("the transition time moved without a transition")
	}
}

func TestAgainTakesTheShortest(t *testing.T) {
	o := Done("Ready", "m").Again(time.Hour).Again(0).Again(time.Minute).Again(time.Hour)
	if result, _ := o.Result(); result.RequeueAfter != time.Minute {
		t.Errorf("after = %s", result.RequeueAfter)
	}
}

func TestCut(t *testing.T) {
	for _, text := range []string{"", "short", strings.Repeat("a", 1024), strings.Repeat("a", 1025), strings.Repeat("ü", 600), "x" + strings.Repeat("🙂", 300)} {
		got := Cut(text)
		if len(got) > 1024 || !utf8.ValidString(got) || len(text) <= 1024 && got != text {
			t.Errorf("Cut of %d bytes gives %d: %q", len(text), len(got), got)
		}
	}
}
