package platform

import (
	"encoding/json"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/internal/golden"
	"kohort.dev/kohort/controllers/internal/podsecurity"
	"kohort.dev/kohort/controllers/internal/workload"
)

var images = workload.Images{Kohort: "kohort:1", Connector: "connector:1", Store: "store:1"}

func shop(change ...func(*v1alpha1.Platform)) *v1alpha1.Platform {
	p := &v1alpha1.Platform{ObjectMeta: metav1.ObjectMeta{Name: "shop", Namespace: "team"}}
	p.Spec.Type = v1alpha1.PlatformCDP
	p.Spec.Storage.Embedded = &v1alpha1.EmbeddedStorage{Size: resource.MustParse("20Gi")}
	for _, f := range change {
		f(p)
	}
	return p
}

func TestGolden(t *testing.T) {
	for _, c := range []struct {
		name string
		p    *v1alpha1.Platform
	}{
		{"default", shop()},
		{"asked", shop(func(p *v1alpha1.Platform) {
			class := "fast"
			p.Spec.Suspend = true
			p.Spec.Storage.Embedded.StorageClassName = &class
			warehouse, engine := workload.Resources("2", "8Gi", "16Gi"), workload.Resources("1", "1Gi", "2Gi")
			p.Spec.Storage.Embedded.Resources, p.Spec.Engine.Resources = &warehouse, &engine
			p.Spec.Engine.Keys = []v1alpha1.APIKey{
				{Name: "website", Scopes: []v1alpha1.APIScope{v1alpha1.ScopeAudiences}, SecretRef: v1alpha1.SecretKeyReference{Name: "website", Key: "cdp"}},
				{Name: "support", Scopes: []v1alpha1.APIScope{v1alpha1.ScopeProfiles}, SecretRef: v1alpha1.SecretKeyReference{Name: "helpdesk", Key: "key"}},
			}
		})},
	} {
		t.Run(c.name, func(t *testing.T) { golden.Compare(t, c.name, Desired(c.p, Facts{}, images)...) })
	}
}

// Namespaces that enforce "restricted" must take every pod.
func TestPodsAreRestricted(t *testing.T) {
	p := shop()
	podsecurity.Check(t, store(p, Facts{}, images).Spec.Template, false)
	p.Spec.Engine.Keys = []v1alpha1.APIKey{{Name: "website"}}
	podsecurity.Check(t, engine(p, images).Spec.Template, true)
}

// A StatefulSet's claim template cannot change: the size that it was made with stays in it, and the claim grows.
func TestSizeOfAStoreThatIsThere(t *testing.T) {
	made := &appsv1.StatefulSet{Spec: appsv1.StatefulSetSpec{VolumeClaimTemplates: []corev1.PersistentVolumeClaim{claimOf("10Gi")}}}
	text, err := json.Marshal(store(shop(), Facts{Store: made}, images).Spec.VolumeClaimTemplates[0].Spec.Resources.Requests)
	if err != nil || string(text) != `{"storage":"10Gi"}` {
		t.Errorf("the template asks for %s, %v", text, err)
	}
	for have, want := range map[string]string{"10Gi": "20Gi", "20Gi": "<nil>", "30Gi": "<nil>"} {
		claim := claimOf(have)
		if got := Grow(shop(), &claim); got.String() != want {
			t.Errorf("a claim of %s grows to %s, want %s", have, got, want)
		}
	}
	if got := Grow(shop(), nil); got != nil {
		t.Errorf("a claim that is not there grows to %s", got)
	}
}

func claimOf(size string) corev1.PersistentVolumeClaim {
	return corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{
		Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}}}}
}

func TestConditions(t *testing.T) {
	running := &appsv1.StatefulSet{Status: appsv1.StatefulSetStatus{ReadyReplicas: 1}}
	engine := &appsv1.Deployment{Status: appsv1.DeploymentStatus{AvailableReplicas: 1}}
	rolling := &appsv1.Deployment{Status: appsv1.DeploymentStatus{AvailableReplicas: 1, UnavailableReplicas: 1}}
	quota := &appsv1.Deployment{Status: appsv1.DeploymentStatus{Conditions: []appsv1.DeploymentCondition{
		{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Message: "exceeded quota: team"}}}}
	crashing := []corev1.Pod{{Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
		Name: "engine", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "back-off 5m0s restarting failed container in pod shop-engine-5d4f"}},
		LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error", Message: "cannot read the token"}}}}}}}
	type verdict struct{ store, engine, ready string }
	for _, c := range []struct {
		why   string
		p     *v1alpha1.Platform
		facts Facts
		want  verdict
	}{
		{"nothing is made yet", shop(), Facts{}, verdict{"False Progressing", "False Progressing", "False Progressing: the store is starting"}},
		{"all runs", shop(), Facts{Store: running, Engine: engine}, verdict{"True Ready", "True Ready", "True Ready: store and engine run"}},
		{"the store's trouble comes first, for the engine waits for it", shop(), Facts{Engine: engine, StorePods: crashing},
			verdict{"False WorkloadUnavailable", "True Ready", "False WorkloadUnavailable: the store does not run: container engine: CrashLoopBackOff: it ends with exit code 1 (Error): cannot read the token"}},
		{"no pod because of a quota", shop(), Facts{Store: running, Engine: quota},
			verdict{"True Ready", "False WorkloadUnavailable", "False WorkloadUnavailable: the engine does not run: exceeded quota: team"}},
		{"a new version cannot start while the old one serves", shop(), Facts{Store: running, Engine: rolling, EnginePods: crashing},
			verdict{"True Ready", "True Ready", "False WorkloadUnavailable: an engine runs, and another pod of it does not: container engine: CrashLoopBackOff: it ends with exit code 1 (Error): cannot read the token"}},
		{"suspended is what was asked for", shop(func(p *v1alpha1.Platform) { p.Spec.Suspend = true }), Facts{Store: running},
			verdict{"True Ready", "False Suspended", "True Suspended: the engine is stopped, events are kept in the stream; set spec.suspend to false to go on"}},
	} {
		t.Run(c.why, func(t *testing.T) {
			store, engine := Conditions(c.p, c.facts)
			status := &v1alpha1.CommonStatus{}
			Summary(c.p, c.facts, store, engine).Summarise(status, 1, metav1.Now().Time)
			ready := status.Conditions[0]
			got := verdict{string(store.Status) + " " + store.Reason, string(engine.Status) + " " + engine.Reason, string(ready.Status) + " " + ready.Reason + ": " + ready.Message}
			if got != c.want {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
}
