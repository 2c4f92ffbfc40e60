// Package workload builds the pods of the data plane: restricted (Pod Security Standards), without a Kubernetes token
// unless asked for, with credentials as files. It is pure.
package workload

import (
	"cmp"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"kohort.dev/kohort/api/v1alpha1"
)

// user is that of distroless "nonroot" images; fsGroup lets it read Secrets and write claims.
const user = 65532

// Images are those of the data plane.
type Images struct {
	// Kohort has the binaries operator and worker.
	Kohort string
	// Connector has the binary connector.
	Connector string
	// Store has the binary store and libchdb.
	Store string
}

// ConnectorImageAnnotation stands on the Deployment of a Platform's engine, where "kohort destination test" finds the image
// of the connector.
const ConnectorImageAnnotation = "kohort.dev/connector-image"

// Binaries in the images.
const (
	WorkerBinary    = "/usr/local/bin/worker"
	ConnectorBinary = "/usr/local/bin/connector"
	StoreBinary     = "/usr/local/bin/store"
)

// Directories in the containers.
const (
	WarehouseCredentials = "/etc/kohort/warehouse"
	StreamCredentials    = "/etc/kohort/stream"
	APICredentials       = "/etc/kohort/api"
	APIKeys              = "/etc/kohort/api-keys"
	WriteKeyDirectory    = "/etc/kohort/write-key"
	DSNDirectory         = "/etc/kohort/dsn"
	TokenDirectory       = "/etc/kohort/token"
	SigningDirectory     = "/etc/kohort/signing" // with a number, for each key has a directory of its own
	SecretDirectory      = "/etc/kohort/secret"  // with a number, likewise
	RecordDirectory      = "/etc/kohort/record"
	DataDirectory        = "/data"
	temporaryDirectory   = "/tmp"
)

// Ports.
const (
	WarehousePort    = 8123
	StreamPort       = 4222
	StreamHealthPort = 8222
	ServePort        = 8080 // engine API, collector
	HealthPort       = 8081 // engine, collector, listener
)

// Container is one container of a pod.
type Container struct {
	Name    string
	Image   string
	Command []string
	Args    []string
	Env     []*corev1ac.EnvVarApplyConfiguration
	Ports   map[string]int32
	// Resources asked for; see Defaults.
	Resources corev1.ResourceRequirements
	// GoMemory sets GOMEMLIMIT from the memory limit. Not for the warehouse, whose memory is mostly not Go's.
	GoMemory bool
	Mounts   []Mount
	Startup  *corev1ac.ProbeApplyConfiguration
	Ready    *corev1ac.ProbeApplyConfiguration
	Live     *corev1ac.ProbeApplyConfiguration
}

// Mount is one volume in a container.
type Mount struct {
	Volume   string
	Path     string
	ReadOnly bool
}

// Pod is a pod of one or more containers. A directory /tmp comes with it.
type Pod struct {
	Labels         map[string]string
	Annotations    map[string]string
	Containers     []Container
	Volumes        []*corev1ac.VolumeApplyConfiguration
	ServiceAccount string // with a token; empty: the namespace's default, without one
	GraceSeconds   int64
	RestartNever   bool
	// TemporarySize bounds /tmp.
	TemporarySize string
}

// Template builds the pod's template.
func (p Pod) Template() *corev1ac.PodTemplateSpecApplyConfiguration {
	spec := corev1ac.PodSpec().
		WithAutomountServiceAccountToken(p.ServiceAccount != "").
		WithTerminationGracePeriodSeconds(p.GraceSeconds).
		WithSecurityContext(corev1ac.PodSecurityContext().
			WithRunAsNonRoot(true).WithRunAsUser(user).WithRunAsGroup(user).WithFSGroup(user).
			WithFSGroupChangePolicy(corev1.FSGroupChangeOnRootMismatch).
			WithSeccompProfile(corev1ac.SeccompProfile().WithType(corev1.SeccompProfileTypeRuntimeDefault))).
		WithVolumes(p.Volumes...).
		WithVolumes(corev1ac.Volume().WithName("tmp").
			WithEmptyDir(corev1ac.EmptyDirVolumeSource().WithSizeLimit(resource.MustParse(p.TemporarySize))))
	if p.ServiceAccount != "" {
		spec.WithServiceAccountName(p.ServiceAccount)
	}
	if p.RestartNever {
		spec.WithRestartPolicy(corev1.RestartPolicyNever)
	}
	for _, c := range p.Containers {
		spec.WithContainers(c.build())
	}
	return corev1ac.PodTemplateSpec().WithLabels(p.Labels).WithAnnotations(p.Annotations).WithSpec(spec)
}

func (c Container) build() *corev1ac.ContainerApplyConfiguration {
	out := corev1ac.Container().WithName(c.Name).WithImage(c.Image).
		WithImagePullPolicy(corev1.PullIfNotPresent).
		WithCommand(c.Command...).WithArgs(c.Args...).
		WithTerminationMessagePolicy(corev1.TerminationMessageReadFile).
		WithSecurityContext(corev1ac.SecurityContext().
			WithAllowPrivilegeEscalation(false).WithReadOnlyRootFilesystem(true).
			WithCapabilities(corev1ac.Capabilities().WithDrop("ALL"))).
		WithResources(Requirements(c.Resources)).
		WithEnv(c.Env...)
	if limit, ok := c.Resources.Limits[corev1.ResourceMemory]; ok && c.GoMemory {
		out.WithEnv(corev1ac.EnvVar().WithName("GOMEMLIMIT").WithValue(goMemory(limit)))
	}
	for _, name := range sortedKeys(c.Ports) {
		out.WithPorts(corev1ac.ContainerPort().WithName(name).WithContainerPort(c.Ports[name]))
	}
	for _, m := range c.Mounts {
		mount := corev1ac.VolumeMount().WithName(m.Volume).WithMountPath(m.Path)
		if m.ReadOnly {
			mount.WithReadOnly(true)
		}
		out.WithVolumeMounts(mount)
	}
	out.WithVolumeMounts(corev1ac.VolumeMount().WithName("tmp").WithMountPath(temporaryDirectory))
	out.StartupProbe, out.ReadinessProbe, out.LivenessProbe = c.Startup, c.Ready, c.Live
	return out
}

// goMemory leaves a tenth of a limit for what Go's collector does not count: stacks of C code, mapped files, the
// overshoot between two collections.
func goMemory(limit resource.Quantity) string {
	return strconv.FormatInt(limit.Value()/10*9, 10)
}

// Requirements turns resources into a configuration.
func Requirements(r corev1.ResourceRequirements) *corev1ac.ResourceRequirementsApplyConfiguration {
	out := corev1ac.ResourceRequirements()
	if len(r.Requests) > 0 {
		out.WithRequests(r.Requests)
	}
	if len(r.Limits) > 0 {
		out.WithLimits(r.Limits)
	}
	return out
}

// Resources makes requirements with a CPU and memory request and a memory limit. No CPU limit: it would only slow work
// down that nobody else has a claim to.
func Resources(cpu, memory, memoryLimit string) corev1.ResourceRequirements {
	return corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)},
		Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(memoryLimit)},
	}
}

// Defaults gives what a person asked for, and the default where nothing was asked for.
func Defaults(asked *corev1.ResourceRequirements, otherwise corev1.ResourceRequirements) corev1.ResourceRequirements {
	if asked == nil {
		return otherwise
	}
	return *asked
}

// Secret is one to be made with random content.
type Secret struct {
	Name   string
	Labels map[string]string
	// Fixed keys have the given value, Random ones are drawn.
	Fixed  map[string]string
	Random []string
}

// SecretVolume mounts a Secret, or only one key of it, readable by the pod's group alone.
func SecretVolume(name, secret, key string) *corev1ac.VolumeApplyConfiguration {
	source := corev1ac.SecretVolumeSource().WithSecretName(secret).WithDefaultMode(0o440)
	if key != "" {
		source.WithItems(corev1ac.KeyToPath().WithKey(key).WithPath(key))
	}
	return corev1ac.Volume().WithName(name).WithSecret(source)
}

// KeysVolume has a file for each name with the text that a reference gives. What is not there yet is left out, and comes
// as soon as it is.
func KeysVolume(name string, refs map[string]v1alpha1.SecretKeyReference) *corev1ac.VolumeApplyConfiguration {
	source := corev1ac.ProjectedVolumeSource().WithDefaultMode(0o440)
	for _, file := range sortedKeys(refs) {
		source.WithSources(corev1ac.VolumeProjection().WithSecret(corev1ac.SecretProjection().WithName(refs[file].Name).
			WithItems(corev1ac.KeyToPath().WithKey(refs[file].Key).WithPath(file)).WithOptional(true)))
	}
	return corev1ac.Volume().WithName(name).WithProjected(source)
}

// Probe asks a path every period; times failures in a row make it fail.
func Probe(path, port string, period, failures int32) *corev1ac.ProbeApplyConfiguration {
	return corev1ac.Probe().
		WithHTTPGet(corev1ac.HTTPGetAction().WithPath(path).WithPort(intstr.FromString(port))).
		WithPeriodSeconds(period).WithFailureThreshold(failures).WithTimeoutSeconds(probeTimeout)
}

// probeTimeout in seconds: a busy machine of two cores needs more than the default of one.
const probeTimeout = 5

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
