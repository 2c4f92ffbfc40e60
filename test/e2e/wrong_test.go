//go:build e2e

package e2e

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/test/demo/population"
	"kohort.dev/kohort/test/demo/world"
)

// wrongThingsTell applies what is wrong and reads what a person is told.
func wrongThingsTell(t *testing.T, w world.World, _ *population.Population) {
	t.Run("a missing Secret", func(t *testing.T) { missingSecret(t, w) })
	t.Run("an unknown audience", func(t *testing.T) { unknownAudience(t, w) })
	t.Run("an unreachable destination", func(t *testing.T) { unreachableDestination(t, w) })
	t.Run("a bad mapping", func(t *testing.T) { badMapping(t, w) })
	t.Run("an unreachable source", func(t *testing.T) { unreachableSource(t, w) })
}

// tells checks that an object is not Ready for a reason, that its message names what a person has to look at, and that
// kubectl wait says so too.
func tells(t *testing.T, w world.World, name, reason string, words ...string) {
	t.Helper()
	message := expectCondition(t, w, name, v1alpha1.ConditionReady, metav1.ConditionFalse, reason)
	for _, word := range words {
		if !strings.Contains(message, word) {
			t.Errorf("%s says %q, which does not name %q", name, message, word)
		}
	}
	if err := w.Kubectl.Wait(t.Context(), "condition=Ready", time.Second, name); err == nil {
		t.Errorf("kubectl wait calls %s Ready", name)
	}
	if err := w.Kubectl.Wait(t.Context(), "condition=Ready=False", time.Second, name); err != nil {
		t.Errorf("kubectl wait does not call %s not Ready: %v", name, err)
	}
}

func missingSecret(t *testing.T, w world.World) {
	apply(t, w, `
apiVersion: kohort.dev/v1alpha1
kind: Destination
metadata: {name: no-secret}
spec:
	platformRef: {name: shop}
	webhook:
		url: http://mailer/audiences
		tokenSecretRef: {name: forgotten, key: token}
`)
	tells(t, w, "destination/no-secret", v1alpha1.ReasonSecretNotFound, "forgotten", "token")
	_, err := w.Kubectl.Run(t.Context(), "create", "secret", "generic", "forgotten", "--from-literal=token=here")
	must(t, err)
	must(t, w.Kubectl.Wait(t.Context(), "condition=Ready", time.Minute, "destination/no-secret"))
}

func unknownAudience(t *testing.T, w world.World) {
	apply(t, w, `
apiVersion: kohort.dev/v1alpha1
kind: Audience
metadata: {name: of-nobody}
spec:
	platformRef: {name: shop}
	criteria: [{name: theirs, audience: {name: nobodys}}]
`)
	tells(t, w, "audience/of-nobody", v1alpha1.ReasonAudienceNotFound, "nobodys")
}

// sendNowhere lets an audience go to a destination that nobody is at. Its run tries for a while before it gives up, so it is
// started well before unreachableDestination reads what a person is told.
func sendNowhere(t *testing.T, w world.World) {
	t.Helper()
	apply(t, w, `
apiVersion: kohort.dev/v1alpha1
kind: Destination
metadata: {name: nowhere}
spec:
	platformRef: {name: shop}
	webhook: {url: http://no-such-service/audiences}
---
apiVersion: kohort.dev/v1alpha1
kind: Audience
metadata: {name: to-nowhere}
spec:
	platformRef: {name: shop}
	criteria: [{name: pro, trait: {name: plan, operator: Equals, values: [pro]}}]
	destinations: [{name: nowhere}]
	deletionPolicy: Retain
`)
}

func unreachableDestination(t *testing.T, w world.World) {
	tells(t, w, "sync/to-nowhere-nowhere", v1alpha1.ReasonDestinationUnreachable, "no-such-service")
	expectCondition(t, w, "destination/nowhere", v1alpha1.ConditionReachable, metav1.ConditionFalse, v1alpha1.ReasonDestinationUnreachable)
	tells(t, w, "destination/nowhere", v1alpha1.ReasonDestinationUnreachable, "no-such-service")
}

func badMapping(t *testing.T, w world.World) {
	apply(t, w, `
apiVersion: kohort.dev/v1alpha1
kind: Source
metadata: {name: misread}
spec:
	platformRef: {name: shop}
	files: {url: http://support-desk/tickets.jsonl, format: JSONL}
	mapping: root.type = nothing_like_this(this.ticket_id)
`)
	tells(t, w, "source/misread", v1alpha1.ReasonMappingInvalid, "mapping")
}

func unreachableSource(t *testing.T, w world.World) {
	apply(t, w, `
apiVersion: kohort.dev/v1alpha1
kind: Source
metadata: {name: unread}
spec:
	platformRef: {name: shop}
	files: {url: http://no-such-service/tickets.jsonl, format: JSONL}
	mapping: root = this
`)
	tells(t, w, "source/unread", v1alpha1.ReasonSourceUnreachable, "no-such-service")
}
