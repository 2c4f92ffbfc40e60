package naming

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
)

// A Job's name is a label's value on its pods: 63 characters. The longest names that the API lets people choose must do.
func TestRunNamesFit(t *testing.T) {
	far := time.Date(2286, 11, 20, 17, 46, 39, 0, time.UTC) // the last moment with ten digits
	source, sync := strings.Repeat("s", 40), Sync(strings.Repeat("a", 63), strings.Repeat("d", 63))
	for _, owner := range []string{source, sync} {
		for _, name := range []string{ScheduledRun(owner, far), RequestedRun(owner, "now"), ChangedRun(owner, "x"), DrainRun(owner, far)} {
			if problems := validation.IsValidLabelValue(name); problems != nil {
				t.Errorf("%s: %v", name, problems)
			}
		}
	}
}

func TestServiceNamesFit(t *testing.T) {
	longest := strings.Repeat("p", 40)
	for _, name := range []string{Warehouse(longest), Stream(longest), Engine(longest), Collector(longest)} {
		if problems := validation.IsDNS1035Label(name); problems != nil {
			t.Errorf("%s: %v", name, problems)
		}
	}
	// A StatefulSet's pods carry its name, a dash and a hash in a label.
	if name := Store(longest) + "-" + strings.Repeat("h", 10); len(name) > 63 {
		t.Errorf("%s has %d characters", name, len(name))
	}
}

func TestSync(t *testing.T) {
	if got := Sync("vip", "mailer"); got != "vip-mailer" {
		t.Errorf("a short name is %s", got)
	}
	a, b := Sync(strings.Repeat("a", 63), "mailer"), Sync(strings.Repeat("a", 63), "table")
	if a == b || len(a) > maxSync {
		t.Errorf("%s and %s", a, b)
	}
}
