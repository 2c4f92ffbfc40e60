package engine

import (
	"strings"
	"testing"
	"time"

	"kohort.dev/kohort/api/v1alpha1"
)

func TestWindows(t *testing.T) {
	p := &v1alpha1.Platform{}
	p.Spec.Identity.Identifiers = []v1alpha1.IdentifierRule{{Type: "userId", Unique: true}, {Type: "anonymousId", Window: "1w2d"}}
	if err := checkWindows(p); err != nil {
		t.Errorf("1w2d is refused: %v", err)
	}
	if rules := identityRules(p); rules[0].Window != 0 || rules[1].Window != 9*24*time.Hour {
		t.Errorf("the windows are %s and %s, want none and nine days", rules[0].Window, rules[1].Window)
	}
	p.Spec.Identity.Identifiers[1].Window = "999999999999y"
	if err := checkWindows(p); err == nil || !strings.Contains(err.Error(), "spec.identity.identifiers[1].window") {
		t.Errorf("a window that is no duration gives %v, want an error that names the field", err)
	}
}
