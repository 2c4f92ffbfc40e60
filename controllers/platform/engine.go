package platform

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	rbacv1ac "k8s.io/client-go/applyconfigurations/rbac/v1"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/internal/naming"
	"kohort.dev/kohort/controllers/internal/workload"
)

// engineGrace lets a batch that is being stored end; what was not stored is delivered again.
const engineGrace = 30

// engine computes profiles and audiences. Its replicas elect a leader, so a new one may start before the old one ends.
func engine(p *v1alpha1.Platform, images workload.Images) *appsv1ac.DeploymentApplyConfiguration {
	labels := naming.Labels(p.Name, naming.ComponentEngine, p.Name)
	replicas := int32(1)
	if p.Spec.Suspend {
		replicas = 0
	}
	pod := workload.Pod{
		Labels: labels,
		Volumes: []*corev1ac.VolumeApplyConfiguration{
			workload.SecretVolume("warehouse", naming.Warehouse(p.Name), ""),
			workload.SecretVolume("stream", naming.Stream(p.Name), ""),
			workload.SecretVolume("api", naming.API(p.Name), ""),
		},
		ServiceAccount: naming.Engine(p.Name),
		GraceSeconds:   engineGrace, TemporarySize: "256Mi",
		Containers: []workload.Container{{
			Name: "engine", Image: images.Kohort,
			Command: []string{workload.WorkerBinary, "engine"},
			Args: []string{
				"--namespace", p.Namespace, "--platform", p.Name,
				"--warehouse-url", WarehouseURL(p.Name, p.Namespace), "--warehouse-credentials-dir", workload.WarehouseCredentials,
				"--stream-url", StreamURL(p.Name, p.Namespace), "--stream-credentials-dir", workload.StreamCredentials,
				"--api-token-file", workload.APICredentials + "/token",
				"--listen", ":8080", "--health-listen", ":8081",
			},
			Ports:     map[string]int32{"api": workload.ServePort, "health": workload.HealthPort},
			Resources: workload.Defaults(p.Spec.Engine.Resources, workload.Resources("100m", "256Mi", "1Gi")),
			GoMemory:  true,
			Mounts: []workload.Mount{
				{Volume: "warehouse", Path: workload.WarehouseCredentials, ReadOnly: true},
				{Volume: "stream", Path: workload.StreamCredentials, ReadOnly: true},
				{Volume: "api", Path: workload.APICredentials, ReadOnly: true},
			},
			Startup: workload.Probe("/healthz", "health", 5, 36),
			Ready:   workload.Probe("/readyz", "health", 5, 3),
			Live:    workload.Probe("/healthz", "health", 10, 6),
		}},
	}
	if len(p.Spec.Engine.Keys) > 0 {
		refs := map[string]v1alpha1.SecretKeyReference{}
		for _, key := range p.Spec.Engine.Keys {
			refs[key.Name] = key.SecretRef
		}
		container := &pod.Containers[0]
		pod.Volumes = append(pod.Volumes, workload.KeysVolume("api-keys", refs))
		container.Args = append(container.Args, "--api-keys-dir", workload.APIKeys)
		container.Mounts = append(container.Mounts, workload.Mount{Volume: "api-keys", Path: workload.APIKeys, ReadOnly: true})
	}
	return appsv1ac.Deployment(naming.Engine(p.Name), p.Namespace).WithLabels(labels).
		WithAnnotations(map[string]string{workload.ConnectorImageAnnotation: images.Connector}).
		WithSpec(appsv1ac.DeploymentSpec().
			WithReplicas(replicas).
			WithSelector(metav1ac.LabelSelector().WithMatchLabels(naming.Selector(p.Name, naming.ComponentEngine))).
			WithTemplate(pod.Template()))
}

func engineService(p *v1alpha1.Platform) *corev1ac.ServiceApplyConfiguration {
	return corev1ac.Service(naming.Engine(p.Name), p.Namespace).
		WithLabels(naming.Labels(p.Name, naming.ComponentEngine, p.Name)).
		WithSpec(corev1ac.ServiceSpec().
			WithSelector(naming.Selector(p.Name, naming.ComponentEngine)).
			WithPorts(
				servicePort("api", workload.ServePort),
				servicePort("health", workload.HealthPort),
			))
}

func servicePort(name string, number int32) *corev1ac.ServicePortApplyConfiguration {
	return corev1ac.ServicePort().WithName(name).WithPort(number).WithProtocol(corev1.ProtocolTCP).
		WithTargetPort(intstr.FromString(name))
}

func engineAccount(p *v1alpha1.Platform) *corev1ac.ServiceAccountApplyConfiguration {
	return corev1ac.ServiceAccount(naming.Engine(p.Name), p.Namespace).
		WithLabels(naming.Labels(p.Name, naming.ComponentEngine, p.Name)).
		WithAutomountServiceAccountToken(false) // its pod asks for the token itself
}

// engineRole is all that the data plane may do in Kubernetes: read the kinds that define its work, write their status,
// elect a leader and record Events, in its own namespace.
func engineRole(p *v1alpha1.Platform) *rbacv1ac.RoleApplyConfiguration {
	group := v1alpha1.GroupVersion.Group
	return rbacv1ac.Role(naming.Engine(p.Name), p.Namespace).
		WithLabels(naming.Labels(p.Name, naming.ComponentEngine, p.Name)).
		WithRules(
			rbacv1ac.PolicyRule().WithAPIGroups(group).
				WithResources("platforms", "sources", "audiences", "retentionpolicies").
				WithVerbs("get", "list", "watch"),
			rbacv1ac.PolicyRule().WithAPIGroups(group).
				WithResources("platforms/status", "sources/status", "audiences/status", "retentionpolicies/status").
				WithVerbs("patch"),
			rbacv1ac.PolicyRule().WithAPIGroups("coordination.k8s.io").WithResources("leases").WithVerbs("get", "create", "update"),
			rbacv1ac.PolicyRule().WithAPIGroups("", "events.k8s.io").WithResources("events").WithVerbs("create", "patch"),
		)
}

func engineBinding(p *v1alpha1.Platform) *rbacv1ac.RoleBindingApplyConfiguration {
	name := naming.Engine(p.Name)
	return rbacv1ac.RoleBinding(name, p.Namespace).
		WithLabels(naming.Labels(p.Name, naming.ComponentEngine, p.Name)).
		WithRoleRef(rbacv1ac.RoleRef().WithAPIGroup("rbac.authorization.k8s.io").WithKind("Role").WithName(name)).
		WithSubjects(rbacv1ac.Subject().WithKind("ServiceAccount").WithName(name).WithNamespace(p.Namespace))
}
