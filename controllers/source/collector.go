package source

import (
	"strconv"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	autoscalingv2ac "k8s.io/client-go/applyconfigurations/autoscaling/v2"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	networkingv1ac "k8s.io/client-go/applyconfigurations/networking/v1"
	policyv1ac "k8s.io/client-go/applyconfigurations/policy/v1"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/internal/naming"
	"kohort.dev/kohort/controllers/internal/workload"
	"kohort.dev/kohort/controllers/platform"
)

const (
	// collectorGrace covers the seconds that a collector goes on serving after it was told to stop, until no proxy sends to
	// it any more, and the requests under way.
	collectorGrace = 30
	defaultMin     = 1
	defaultMax     = 3
	defaultCPU     = 70 // % of the request
)

// Children are those of a Source with a collector or a listener, except a write key.
func Children(s *v1alpha1.Source, images workload.Images) ([]runtime.ApplyConfiguration, error) {
	if s.Listens() {
		return Listener(s, images)
	}
	return Collector(s, images), nil
}

// server names what answers requests of a Source, and how its pods are found.
type server struct {
	name, namespace  string
	labels, selector map[string]string
}

func collector(s *v1alpha1.Source) server {
	return server{naming.Collector(s.Name), s.Namespace, labels(s), selector(s)}
}

// Collector are the children of an http Source except its write key.
func Collector(s *v1alpha1.Source, images workload.Images) []runtime.ApplyConfiguration {
	c := collector(s)
	out := []runtime.ApplyConfiguration{c.policy(), c.service(), c.disruptionBudget(), deployment(s, images)}
	if Autoscaled(s) {
		out = append(out, autoscaler(s))
	}
	return out
}

// Autoscaled says that an autoscaler decides how many collectors there are.
func Autoscaled(s *v1alpha1.Source) bool { return s.Spec.HTTP.Replicas == nil && !s.Spec.Suspend }

// MadeSecret is the write key, or the secret of a webhook, that is made when the spec names none; nil when it does.
func MadeSecret(s *v1alpha1.Source) *workload.Secret {
	var ref v1alpha1.SecretKeyReference
	switch {
	case s.Spec.HTTP != nil && s.Spec.HTTP.WriteKeySecretRef == nil:
		ref = s.WriteKey()
	case s.Spec.Webhook != nil && s.Spec.Webhook.SecretRef == nil:
		ref = s.WebhookSecret()
	default:
		return nil
	}
	return &workload.Secret{Name: ref.Name, Labels: labels(s), Random: []string{ref.Key}}
}

func labels(s *v1alpha1.Source) map[string]string {
	return naming.With(naming.Labels(s.Spec.PlatformRef.Name, naming.ComponentCollector, s.Name), v1alpha1.SourceLabel, s.Name)
}

func selector(s *v1alpha1.Source) map[string]string {
	return map[string]string{v1alpha1.SourceLabel: s.Name, v1alpha1.ComponentLabel: naming.ComponentCollector}
}

func deployment(s *v1alpha1.Source, images workload.Images) *appsv1ac.DeploymentApplyConfiguration {
	platformName, key := s.Spec.PlatformRef.Name, s.WriteKey()
	pod := workload.Pod{
		Labels: labels(s),
		Volumes: []*corev1ac.VolumeApplyConfiguration{
			workload.SecretVolume("stream", naming.Stream(platformName), ""),
			workload.SecretVolume("write-key", key.Name, key.Key),
		},
		GraceSeconds: collectorGrace, TemporarySize: "64Mi",
		Containers: []workload.Container{{
			Name: "collector", Image: images.Kohort,
			Command: []string{workload.WorkerBinary, "collect"},
			Args: append([]string{
				"--platform", platformName, "--source", s.Name, "--party", string(s.GetParty()),
				"--stream-url", platform.StreamURL(platformName, s.Namespace), "--stream-credentials-dir", workload.StreamCredentials,
				"--write-key-file", workload.WriteKeyDirectory + "/" + key.Key,
				"--listen", ":8080", "--health-listen", ":8081",
			}, chosen(s.Spec.HTTP)...),
			Ports:     map[string]int32{"http": workload.ServePort, "health": workload.HealthPort},
			Resources: workload.Resources("50m", "64Mi", "256Mi"),
			GoMemory:  true,
			// What lives is small (some 15 MiB) beside what each request leaves, so it is collected less often; the memory
			// limit stands all the same.
			Env: []*corev1ac.EnvVarApplyConfiguration{corev1ac.EnvVar().WithName("GOGC").WithValue("400")},
			Mounts: []workload.Mount{
				{Volume: "stream", Path: workload.StreamCredentials, ReadOnly: true},
				{Volume: "write-key", Path: workload.WriteKeyDirectory, ReadOnly: true},
			},
			Startup: workload.Probe("/healthz", "health", 2, 60),
			Ready:   workload.Probe("/readyz", "health", 5, 2),
			Live:    workload.Probe("/healthz", "health", 10, 6),
		}},
	}
	spec := appsv1ac.DeploymentSpec().
		WithSelector(metav1ac.LabelSelector().WithMatchLabels(selector(s))).
		WithTemplate(pod.Template())
	switch {
	case s.Spec.Suspend:
		spec.WithReplicas(0)
	case s.Spec.HTTP.Replicas != nil:
		spec.WithReplicas(*s.Spec.HTTP.Replicas)
	} // else the number is the autoscaler's, and none of our business
	return appsv1ac.Deployment(naming.Collector(s.Name), s.Namespace).WithLabels(labels(s)).WithSpec(spec)
}

// chosen are the flags of what the spec sets; the collector's own defaults stand for the rest.
func chosen(http *v1alpha1.HTTPSource) []string {
	var args []string
	number := func(flag string, value *int32) {
		if value != nil {
			args = append(args, flag, strconv.Itoa(int(*value)))
		}
	}
	if l := http.Limits; l != nil {
		number("--events-per-second", l.EventsPerSecond)
		number("--burst", l.Burst)
		number("--max-batch-bytes", l.MaxBatchBytes)
	}
	if http.CORS != nil {
		for _, origin := range http.CORS.AllowedOrigins {
			args = append(args, "--allowed-origin", origin)
		}
	}
	if http.ClientIP != "" {
		args = append(args, "--client-ip", string(http.ClientIP))
	}
	if http.TrustedHops > 0 {
		number("--trusted-hops", &http.TrustedHops)
	}
	return args
}

func (s server) service() *corev1ac.ServiceApplyConfiguration {
	return corev1ac.Service(s.name, s.namespace).WithLabels(s.labels).
		WithSpec(corev1ac.ServiceSpec().WithSelector(s.selector).
			WithPorts(corev1ac.ServicePort().WithName("http").WithPort(80).WithProtocol(corev1.ProtocolTCP).
				WithTargetPort(intstr.FromString("http"))))
}

func autoscaler(s *v1alpha1.Source) *autoscalingv2ac.HorizontalPodAutoscalerApplyConfiguration {
	low, high, cpu := int32(defaultMin), int32(defaultMax), int32(defaultCPU)
	if a := s.Spec.HTTP.Autoscaling; a != nil {
		low, high = a.MinReplicas, a.MaxReplicas
		if a.TargetCPUUtilizationPercentage != nil {
			cpu = *a.TargetCPUUtilizationPercentage
		}
	}
	name := naming.Collector(s.Name)
	return autoscalingv2ac.HorizontalPodAutoscaler(name, s.Namespace).WithLabels(labels(s)).
		WithSpec(autoscalingv2ac.HorizontalPodAutoscalerSpec().
			WithScaleTargetRef(autoscalingv2ac.CrossVersionObjectReference().WithAPIVersion("apps/v1").WithKind("Deployment").WithName(name)).
			WithMinReplicas(low).WithMaxReplicas(high).
			WithMetrics(autoscalingv2ac.MetricSpec().WithType(autoscalingv2.ResourceMetricSourceType).
				WithResource(autoscalingv2ac.ResourceMetricSource().WithName(corev1.ResourceCPU).
					WithTarget(autoscalingv2ac.MetricTarget().WithType(autoscalingv2.UtilizationMetricType).WithAverageUtilization(cpu)))))
}

// disruptionBudget lets nodes be drained one pod at a time.
func (s server) disruptionBudget() *policyv1ac.PodDisruptionBudgetApplyConfiguration {
	return policyv1ac.PodDisruptionBudget(s.name, s.namespace).WithLabels(s.labels).
		WithSpec(policyv1ac.PodDisruptionBudgetSpec().
			WithMaxUnavailable(intstr.FromInt32(1)).
			WithSelector(metav1ac.LabelSelector().WithMatchLabels(s.selector)))
}

// policy lets everybody send; the key says whose it is.
func (s server) policy() *networkingv1ac.NetworkPolicyApplyConfiguration {
	port := func(number int32) *networkingv1ac.NetworkPolicyIngressRuleApplyConfiguration {
		return networkingv1ac.NetworkPolicyIngressRule().WithPorts(networkingv1ac.NetworkPolicyPort().
			WithProtocol(corev1.ProtocolTCP).WithPort(intstr.FromInt32(number)))
	}
	return networkingv1ac.NetworkPolicy(s.name, s.namespace).WithLabels(s.labels).
		WithSpec(networkingv1ac.NetworkPolicySpec().
			WithPodSelector(metav1ac.LabelSelector().WithMatchLabels(s.selector)).
			WithPolicyTypes(networkingv1.PolicyTypeIngress).
			WithIngress(port(workload.ServePort), port(workload.HealthPort)))
}
