package platform

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	networkingv1ac "k8s.io/client-go/applyconfigurations/networking/v1"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/internal/naming"
	"kohort.dev/kohort/controllers/internal/workload"
)

// Policies say who may come in. What goes out is left open: sources and destinations are anywhere. Ports of health and
// metrics are open to the cluster, for they tell nothing about a customer.

// storePolicy lets only this Platform's own workloads at the data.
func storePolicy(p *v1alpha1.Platform) *networkingv1ac.NetworkPolicyApplyConfiguration {
	return policy(p, naming.Store(p.Name), naming.ComponentStore,
		from(workload.WarehousePort, components(p, naming.ComponentEngine, naming.ComponentPuller, naming.ComponentSync)),
		from(workload.StreamPort, components(p, naming.ComponentCollector, naming.ComponentListener, naming.ComponentPuller, naming.ComponentEngine)),
		from(workload.StreamHealthPort, everywhere()),
	)
}

// enginePolicy opens the API to the namespace; its token says who may use it.
func enginePolicy(p *v1alpha1.Platform) *networkingv1ac.NetworkPolicyApplyConfiguration {
	return policy(p, naming.Engine(p.Name), naming.ComponentEngine,
		from(workload.ServePort, networkingv1ac.NetworkPolicyPeer().WithPodSelector(metav1ac.LabelSelector())),
		from(workload.HealthPort, everywhere()),
	)
}

// jobsPolicy lets nobody in: pullers and syncs only ask others.
func jobsPolicy(p *v1alpha1.Platform) *networkingv1ac.NetworkPolicyApplyConfiguration {
	jobs := metav1ac.LabelSelector().WithMatchLabels(map[string]string{v1alpha1.PlatformLabel: p.Name}).
		WithMatchExpressions(componentIn(naming.ComponentPuller, naming.ComponentSync))
	return networkingv1ac.NetworkPolicy(naming.Jobs(p.Name), p.Namespace).
		WithLabels(naming.Labels(p.Name, naming.ComponentSync, p.Name)).
		WithSpec(networkingv1ac.NetworkPolicySpec().
			WithPodSelector(jobs).WithPolicyTypes(networkingv1.PolicyTypeIngress))
}

func policy(p *v1alpha1.Platform, name, component string, rules ...*networkingv1ac.NetworkPolicyIngressRuleApplyConfiguration) *networkingv1ac.NetworkPolicyApplyConfiguration {
	return networkingv1ac.NetworkPolicy(name, p.Namespace).
		WithLabels(naming.Labels(p.Name, component, p.Name)).
		WithSpec(networkingv1ac.NetworkPolicySpec().
			WithPodSelector(metav1ac.LabelSelector().WithMatchLabels(naming.Selector(p.Name, component))).
			WithPolicyTypes(networkingv1.PolicyTypeIngress).
			WithIngress(rules...))
}

// components are pods of this Platform.
func components(p *v1alpha1.Platform, names ...string) *networkingv1ac.NetworkPolicyPeerApplyConfiguration {
	return networkingv1ac.NetworkPolicyPeer().WithPodSelector(metav1ac.LabelSelector().
		WithMatchLabels(map[string]string{v1alpha1.PlatformLabel: p.Name}).
		WithMatchExpressions(componentIn(names...)))
}

func componentIn(names ...string) *metav1ac.LabelSelectorRequirementApplyConfiguration {
	return metav1ac.LabelSelectorRequirement().WithKey(v1alpha1.ComponentLabel).
		WithOperator(metav1.LabelSelectorOpIn).WithValues(names...)
}

// everywhere is every pod of the cluster.
func everywhere() *networkingv1ac.NetworkPolicyPeerApplyConfiguration {
	return networkingv1ac.NetworkPolicyPeer().WithNamespaceSelector(metav1ac.LabelSelector())
}

func from(port int32, peer *networkingv1ac.NetworkPolicyPeerApplyConfiguration) *networkingv1ac.NetworkPolicyIngressRuleApplyConfiguration {
	return networkingv1ac.NetworkPolicyIngressRule().
		WithPorts(networkingv1ac.NetworkPolicyPort().WithProtocol(corev1.ProtocolTCP).WithPort(intstr.FromInt32(port))).
		WithFrom(peer)
}
