package controllers

import (
	"testing"

	"github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/internal/naming"
)

// storePod makes a pod of the store as the kubelet reports one.
func (s *scene) storePod(statuses ...corev1.ContainerStatus) *corev1.Pod {
	s.t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "shop-store-0", Namespace: s.namespace, Labels: naming.Labels("shop", naming.ComponentStore, "shop")},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "warehouse", Image: "i"}, {Name: "stream", Image: "i"}}},
	}
	s.Expect(k8s.Create(s.ctx, pod)).To(gomega.Succeed())
	pod.Status.ContainerStatuses = statuses
	s.Expect(k8s.Status().Update(s.ctx, pod)).To(gomega.Succeed())
	return pod
}

func TestPlatformTellsWhatKeepsItsPodsFromRunning(t *testing.T) {
	s := newScene(t)
	s.apply(platformShop)
	p := &v1alpha1.Platform{}
	s.ready(p, "shop", metav1.ConditionFalse, v1alpha1.ReasonProgressing)
	pod := s.storePod(corev1.ContainerStatus{Name: "warehouse", Image: "kohort.test/store:1", State: corev1.ContainerState{
		Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "Back-off pulling"}}})
	message := s.ready(p, "shop", metav1.ConditionFalse, v1alpha1.ReasonWorkloadUnavailable)
	s.Expect(message).To(gomega.Equal("the store does not run: container warehouse: ImagePullBackOff: the image kohort.test/store:1 cannot be pulled"))
	pod.Status.ContainerStatuses = nil
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable,
		Message: "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims"}}
	s.Expect(k8s.Status().Update(s.ctx, pod)).To(gomega.Succeed())
	s.Eventually(func() string { return s.ready(p, "shop", metav1.ConditionFalse, v1alpha1.ReasonWorkloadUnavailable) }).
		Should(gomega.ContainSubstring("unbound immediate PersistentVolumeClaims"))
	s.serve("shop")
	s.ready(p, "shop", metav1.ConditionTrue, v1alpha1.ReasonReady)
	s.Expect(p.Status.Storage).To(gomega.Equal("Embedded 1Gi"))
	s.Eventually(func() []string { return s.events("Platform", "shop") }).Should(gomega.ContainElements(v1alpha1.ReasonWorkloadUnavailable, v1alpha1.ReasonReady), "the Events tell the same reasons")
}

func TestPlatformIsSuspended(t *testing.T) {
	s := newScene(t)
	s.serving()
	p, engine := &v1alpha1.Platform{}, &appsv1.Deployment{}
	s.change("shop", p, func() { p.Spec.Suspend = true })
	s.Eventually(func() int32 { s.get("shop-engine", engine); return *engine.Spec.Replicas }).Should(gomega.BeEquivalentTo(0))
	s.ready(p, "shop", metav1.ConditionTrue, v1alpha1.ReasonSuspended)
	s.Expect(meta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionStoreAvailable)).To(gomega.BeTrue(), "collectors go on acknowledging")
	s.apply(retentionYear)
	s.ready(&v1alpha1.RetentionPolicy{}, "year", metav1.ConditionFalse, v1alpha1.ReasonPlatformNotReady)
}

// Somebody else's object under a name that we need is left alone; the rest is made; and when it goes we take its place.
func TestForeignService(t *testing.T) {
	s := newScene(t)
	foreign := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "shop-stream", Namespace: s.namespace}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 1}}}}
	s.Expect(k8s.Create(s.ctx, foreign)).To(gomega.Succeed())
	s.apply(platformShop)
	p := &v1alpha1.Platform{}
	message := s.ready(p, "shop", metav1.ConditionFalse, v1alpha1.ReasonNameTaken)
	s.Expect(message).To(gomega.ContainSubstring("Service shop-stream"))
	s.Expect(meta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionStalled)).To(gomega.BeTrue())
	found := &corev1.Service{}
	s.get("shop-stream", found)
	s.Expect(found.ResourceVersion).To(gomega.Equal(foreign.ResourceVersion))
	s.get("shop-store", &appsv1.StatefulSet{})
	s.Expect(k8s.Delete(s.ctx, foreign)).To(gomega.Succeed())
	s.request("shop", p, "now")
	s.Eventually(func() bool {
		return k8s.Get(s.ctx, s.key("shop-stream"), found) == nil && metav1.IsControlledBy(found, p)
	}).Should(gomega.BeTrue())
}

// A hand that changes a child is undone; what others may change is not.
func TestDriftIsCorrected(t *testing.T) {
	s := newScene(t)
	s.serving()
	service, engine := &corev1.Service{}, &appsv1.Deployment{}
	s.change("shop-warehouse", service, func() { service.Spec.PublishNotReadyAddresses = false })
	s.Eventually(func() bool { s.get("shop-warehouse", service); return service.Spec.PublishNotReadyAddresses }).Should(gomega.BeTrue())
	s.change("shop-engine", engine, func() {
		engine.Spec.Template.Spec.Containers[0].Image = "somebody.else/engine"
		engine.Annotations = map[string]string{"deployment.kubernetes.io/revision": "7"}
	})
	s.Eventually(func() string { s.get("shop-engine", engine); return engine.Spec.Template.Spec.Containers[0].Image }).Should(gomega.Equal(testImages.Kohort))
	s.Expect(engine.Annotations).To(gomega.HaveKeyWithValue("deployment.kubernetes.io/revision", "7"))
	s.change("shop-engine", engine, func() { delete(engine.Labels, naming.ManagedByLabel) })
	s.Eventually(func() map[string]string { s.get("shop-engine", engine); return engine.Labels }).Should(gomega.HaveKey(naming.ManagedByLabel), "an object without our label is out of our sight, and still ours")
}

// The volume grows in place; the StatefulSet's template, which cannot change, stays as it was made.
func TestStoreGrows(t *testing.T) {
	s := newScene(t)
	s.serving()
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "data-shop-store-0", Namespace: s.namespace, Labels: naming.Labels("shop", naming.ComponentStore, "shop")},
		Spec: corev1.PersistentVolumeClaimSpec{AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, VolumeName: "v",
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}}},
	}
	s.Expect(k8s.Create(s.ctx, claim)).To(gomega.Succeed())
	p := &v1alpha1.Platform{}
	s.change("shop", p, func() { p.Spec.Storage.Embedded.Size = resource.MustParse("2Gi") })
	message := s.ready(p, "shop", metav1.ConditionFalse, v1alpha1.ReasonVolumeCannotGrow)
	s.Expect(message).To(gomega.ContainSubstring("data-shop-store-0"), "this claim has no class that allows growth: a person must know")
	store := &appsv1.StatefulSet{}
	s.get("shop-store", store)
	s.Expect(store.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests.Storage().String()).To(gomega.Equal("1Gi"))
}

// A user's resources that no pod can have are named as the spec's fault, with the API server's words.
func TestImpossibleResources(t *testing.T) {
	s := newScene(t)
	s.serving()
	p := &v1alpha1.Platform{}
	s.change("shop", p, func() {
		p.Spec.Engine.Resources = &corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("2Gi")}, Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")}}
	})
	message := s.ready(p, "shop", metav1.ConditionFalse, v1alpha1.ReasonInvalidSpec)
	s.Expect(message).To(gomega.ContainSubstring("must be less than or equal to memory limit"))
}

// The engine may read its kinds and write their status in its own namespace, and nothing else.
func TestEngineMayDoNoMore(t *testing.T) {
	s := newScene(t)
	s.serving()
	may := func(verb, group, kind, subresource, namespace string) bool {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: "system:serviceaccount:" + s.namespace + ":shop-engine", Groups: []string{"system:serviceaccounts", "system:authenticated"},
			ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: verb, Group: group, Resource: kind, Subresource: subresource, Namespace: namespace}}}
		s.Expect(k8s.Create(s.ctx, review)).To(gomega.Succeed())
		return review.Status.Allowed
	}
	for _, kind := range []string{"platforms", "sources", "audiences", "retentionpolicies"} {
		s.Eventually(func() bool { return may("watch", "kohort.dev", kind, "", s.namespace) }).Should(gomega.BeTrue(), kind)
		s.Expect(may("patch", "kohort.dev", kind, "status", s.namespace)).To(gomega.BeTrue(), kind)
		s.Expect(may("patch", "kohort.dev", kind, "", s.namespace)).To(gomega.BeFalse(), kind)
		s.Expect(may("list", "kohort.dev", kind, "", "default")).To(gomega.BeFalse(), kind)
	}
	s.Expect(may("create", "coordination.k8s.io", "leases", "", s.namespace)).To(gomega.BeTrue())
	for _, kind := range []string{"secrets", "pods", "configmaps"} {
		s.Expect(may("get", "", kind, "", s.namespace)).To(gomega.BeFalse(), kind)
		s.Expect(may("list", "", kind, "", s.namespace)).To(gomega.BeFalse(), kind)
	}
	s.Expect(may("create", "batch", "jobs", "", s.namespace)).To(gomega.BeFalse())
}
