package platform

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/internal/naming"
	"kohort.dev/kohort/controllers/internal/workload"
)

const (
	claim     = "data"
	storeRoot = "/var/lib/kohort"
	// storeGrace covers what the warehouse takes to finish running statements (25 s by default) and to close its parts.
	storeGrace = 60
	// storeStart allows five minutes, 60 times five seconds, for opening a large database after a crash.
	storeStart = 60
)

// store is the one stateful pod: the warehouse and the stream side by side on one volume.
func store(p *v1alpha1.Platform, facts Facts, images workload.Images) *appsv1ac.StatefulSetApplyConfiguration {
	labels := naming.Labels(p.Name, naming.ComponentStore, p.Name)
	selector := naming.Selector(p.Name, naming.ComponentStore)
	warehouseDir, streamDir := storeRoot+"/warehouse", storeRoot+"/stream"
	pod := workload.Pod{
		Labels: labels,
		Volumes: []*corev1ac.VolumeApplyConfiguration{
			workload.SecretVolume("warehouse", naming.Warehouse(p.Name), ""),
			workload.SecretVolume("stream", naming.Stream(p.Name), ""),
		},
		GraceSeconds: storeGrace, TemporarySize: "1Gi",
		Containers: []workload.Container{{
			Name: "warehouse", Image: images.Store,
			Command:   []string{workload.StoreBinary, "warehouse"},
			Args:      []string{"--path", warehouseDir, "--listen", ":8123", "--credentials-dir", workload.WarehouseCredentials},
			Ports:     map[string]int32{"http": workload.WarehousePort},
			Resources: workload.Defaults(p.Spec.Storage.Embedded.Resources, workload.Resources("150m", "448Mi", "4Gi")),
			Mounts: []workload.Mount{
				{Volume: claim, Path: storeRoot},
				{Volume: "warehouse", Path: workload.WarehouseCredentials, ReadOnly: true},
			},
			Startup: workload.Probe("/ready", "http", 5, storeStart),
			Ready:   workload.Probe("/ready", "http", 5, 2),
			Live:    workload.Probe("/ping", "http", 10, 6),
		}, {
			Name: "stream", Image: images.Store,
			Command:   []string{workload.StoreBinary, "stream"},
			Args:      []string{"--dir", streamDir, "--listen", ":4222", "--health-listen", ":8222", "--credentials-dir", workload.StreamCredentials},
			Ports:     map[string]int32{"nats": workload.StreamPort, "health": workload.StreamHealthPort},
			Resources: workload.Resources("50m", "64Mi", "512Mi"),
			GoMemory:  true,
			Mounts: []workload.Mount{
				{Volume: claim, Path: storeRoot},
				{Volume: "stream", Path: workload.StreamCredentials, ReadOnly: true},
			},
			Startup: workload.Probe("/ready", "health", 5, storeStart),
			Ready:   workload.Probe("/ready", "health", 5, 2),
			Live:    workload.Probe("/ping", "health", 10, 6),
		}},
	}
	return appsv1ac.StatefulSet(naming.Store(p.Name), p.Namespace).WithLabels(labels).
		WithSpec(appsv1ac.StatefulSetSpec().
			WithReplicas(1).
			// In order, a pod that never becomes ready would keep a corrected template from being rolled out.
			WithPodManagementPolicy(appsv1.ParallelPodManagement).
			WithServiceName(naming.Warehouse(p.Name)).
			WithSelector(metav1ac.LabelSelector().WithMatchLabels(selector)).
			WithTemplate(pod.Template()).
			WithVolumeClaimTemplates(claimTemplate(p, facts, labels)))
}

// claimTemplate keeps the size that it was made with, because a StatefulSet's cannot change; see Grow.
func claimTemplate(p *v1alpha1.Platform, facts Facts, labels map[string]string) *corev1ac.PersistentVolumeClaimApplyConfiguration {
	size := p.Spec.Storage.Embedded.Size
	if facts.Store != nil && len(facts.Store.Spec.VolumeClaimTemplates) == 1 {
		if made, ok := facts.Store.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests[corev1.ResourceStorage]; ok {
			size = made
		}
	}
	spec := corev1ac.PersistentVolumeClaimSpec().
		WithAccessModes(corev1.ReadWriteOnce).
		WithResources(corev1ac.VolumeResourceRequirements().WithRequests(corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size.String())}))
	if class := p.Spec.Storage.Embedded.StorageClassName; class != nil {
		spec.WithStorageClassName(*class)
	}
	template := corev1ac.PersistentVolumeClaim(claim, "").WithLabels(labels).WithSpec(spec)
	template.Namespace = nil // a template has none
	return template
}

func warehouseService(p *v1alpha1.Platform) *corev1ac.ServiceApplyConfiguration {
	return storeService(p, naming.Warehouse(p.Name), "http", workload.WarehousePort)
}

func streamService(p *v1alpha1.Platform) *corev1ac.ServiceApplyConfiguration {
	return storeService(p, naming.Stream(p.Name), "nats", workload.StreamPort)
}

// storeService reaches one container of the store. It also publishes a pod that is not ready: readiness is the pod's, so
// trouble of one container would hide the other, and a client of the troubled one gets a clear answer instead of none.
func storeService(p *v1alpha1.Platform, name, port string, number int32) *corev1ac.ServiceApplyConfiguration {
	return corev1ac.Service(name, p.Namespace).
		WithLabels(naming.Labels(p.Name, naming.ComponentStore, p.Name)).
		WithSpec(corev1ac.ServiceSpec().
			WithSelector(naming.Selector(p.Name, naming.ComponentStore)).
			WithPublishNotReadyAddresses(true).
			WithPorts(corev1ac.ServicePort().WithName(port).WithPort(number).WithProtocol(corev1.ProtocolTCP).
				WithTargetPort(intstr.FromString(port))))
}
