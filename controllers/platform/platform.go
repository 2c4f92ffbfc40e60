// Package platform knows what a Platform consists of and how it is doing. It is pure: facts in, objects and conditions
// out.
package platform

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"

	appsv1 "k8s.io/api/apps/v1"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/internal/naming"
	"kohort.dev/kohort/controllers/internal/workload"
)

// Facts are what was found in the cluster.
type Facts struct {
	Store      *appsv1.StatefulSet // nil before it is made
	Engine     *appsv1.Deployment
	StorePods  []corev1.Pod
	EnginePods []corev1.Pod
	Claim      *corev1.PersistentVolumeClaim // the store's; nil before it is made
}

// Secrets are those that a Platform needs; they are made once and never touched again.
func Secrets(p *v1alpha1.Platform) []workload.Secret {
	labels := naming.Labels(p.Name, naming.ComponentStore, p.Name)
	return []workload.Secret{
		{Name: naming.Warehouse(p.Name), Labels: labels, Fixed: map[string]string{"username": "kohort"}, Random: []string{"password"}},
		{Name: naming.Stream(p.Name), Labels: labels, Fixed: map[string]string{"username": "kohort"}, Random: []string{"password"}},
		{Name: naming.API(p.Name), Labels: naming.Labels(p.Name, naming.ComponentEngine, p.Name), Random: []string{"token"}},
	}
}

// Desired are the children of a Platform except its Secrets, in the order in which they are applied: who may talk to
// whom stands before there is anybody to talk.
func Desired(p *v1alpha1.Platform, facts Facts, images workload.Images) []runtime.ApplyConfiguration {
	return []runtime.ApplyConfiguration{
		storePolicy(p), enginePolicy(p), jobsPolicy(p),
		warehouseService(p), streamService(p), store(p, facts, images),
		engineAccount(p), engineRole(p), engineBinding(p), engineService(p), engine(p, images),
	}
}

// Grow is the size that the store's claim has to grow to; nil when it need not. The claim template of a StatefulSet
// cannot change, so the claim is changed itself.
func Grow(p *v1alpha1.Platform, claim *corev1.PersistentVolumeClaim) *resource.Quantity {
	if claim == nil {
		return nil
	}
	want := p.Spec.Storage.Embedded.Size
	if have := claim.Spec.Resources.Requests[corev1.ResourceStorage]; have.Cmp(want) >= 0 {
		return nil
	}
	return &want
}

// Storage is the column of kubectl get.
func Storage(p *v1alpha1.Platform) string {
	return "Embedded " + p.Spec.Storage.Embedded.Size.String()
}

// WarehouseURL is where a Platform's warehouse answers, inside the cluster.
func WarehouseURL(platform, namespace string) string {
	return fmt.Sprintf("http://%s.%s.svc:%d", naming.Warehouse(platform), namespace, workload.WarehousePort)
}

// StreamURL is where a Platform's stream answers, inside the cluster.
func StreamURL(platform, namespace string) string {
	return fmt.Sprintf("nats://%s.%s.svc:%d", naming.Stream(platform), namespace, workload.StreamPort)
}
