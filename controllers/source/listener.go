package source

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/internal/naming"
	"kohort.dev/kohort/controllers/internal/workload"
	"kohort.dev/kohort/controllers/platform"
	"kohort.dev/kohort/internal/run"
)

// listenerGrace covers the time that messages which were read may take to be published.
const listenerGrace = 30

// Credential is a key of a Secret that a Source names.
type Credential struct {
	Ref   v1alpha1.SecretKeyReference
	Field string // of the spec that names it
	// Name is what a listener's order calls it; empty for other kinds.
	Name string
}

// Credentials lists the Secrets that a Source needs and that somebody else makes, in a fixed order.
func Credentials(s *v1alpha1.Source) []Credential {
	var out []Credential
	add := func(ref *v1alpha1.SecretKeyReference, field, name string) {
		if ref != nil {
			out = append(out, Credential{*ref, field, name})
		}
	}
	switch {
	case s.Spec.HTTP != nil:
		add(s.Spec.HTTP.WriteKeySecretRef, "spec.http.writeKeySecretRef", "")
	case s.Spec.Files != nil && s.Spec.Files.S3 != nil:
		add(s.Spec.Files.S3.AccessKeyIDSecretRef, "spec.files.s3.accessKeyIDSecretRef", "")
		add(s.Spec.Files.S3.SecretAccessKeySecretRef, "spec.files.s3.secretAccessKeySecretRef", "")
	case s.Spec.SQL != nil:
		add(&s.Spec.SQL.DSNSecretRef, "spec.sql.dsnSecretRef", "")
	case s.Spec.Kafka != nil:
		if k := s.Spec.Kafka; k.SASL != nil {
			add(&k.SASL.PasswordSecretRef, "spec.kafka.sasl.passwordSecretRef", "KAFKA_PASSWORD")
		}
		if k := s.Spec.Kafka; k.TLS != nil {
			add(k.TLS.CASecretRef, "spec.kafka.tls.caSecretRef", "KAFKA_CA")
		}
	case s.Spec.NATS != nil:
		add(s.Spec.NATS.PasswordSecretRef, "spec.nats.passwordSecretRef", "NATS_PASSWORD")
		add(s.Spec.NATS.CredentialsSecretRef, "spec.nats.credentialsSecretRef", "NATS_CREDENTIALS")
	case s.Spec.Webhook != nil:
		add(s.Spec.Webhook.SecretRef, "spec.webhook.secretRef", "WEBHOOK_SECRET")
	case s.Spec.Connector != nil:
		for i, named := range s.Spec.Connector.SecretRefs {
			add(&named.SecretRef, fmt.Sprintf("spec.connector.secretRefs[%d].secretRef", i), named.Name)
		}
	}
	return out
}

// ListenOrder is what the listener of a Source is asked to do.
func ListenOrder(s *v1alpha1.Source) run.ListenOrder {
	order := run.ListenOrder{Platform: s.Spec.PlatformRef.Name, Source: s.Name, Party: string(s.GetParty()), Mapping: s.Spec.Mapping}
	consumer := "kohort-" + s.Namespace + "-" + s.Name
	switch {
	case s.Spec.Kafka != nil:
		order.Kafka = kafka(s.Spec.Kafka, consumer)
	case s.Spec.NATS != nil:
		n := s.Spec.NATS
		order.NATS = &run.NATS{
			URLs: n.URLs, Stream: n.Stream, Subject: n.Subject, Durable: n.Durable, Latest: n.StartFrom == v1alpha1.StartLatest,
			User: n.Username, Credentials: n.CredentialsSecretRef != nil,
		}
		if n.Durable == "" {
			order.NATS.Durable = consumer
		}
	case s.Spec.Connector != nil:
		order.Connector = &run.Connector{Input: s.Spec.Connector.Input.Raw}
	case s.Spec.Webhook != nil:
		w := s.Spec.Webhook
		order.Webhook = &run.Hook{Verify: string(w.Verify)}
		if w.Verify == "" {
			order.Webhook.Verify = run.VerifyToken
		}
		if g := w.Signature; g != nil {
			order.Webhook.Header, order.Webhook.Prefix, order.Webhook.Base64 = g.Header, g.Prefix, g.Encoding == "Base64"
		}
	}
	return order
}

// mechanisms are Kafka's words for what a Source calls them.
var mechanisms = map[string]string{"Plain": "PLAIN", "ScramSHA256": "SCRAM-SHA-256", "ScramSHA512": "SCRAM-SHA-512"}

// Mechanism is Kafka's word for a login of the API's.
func Mechanism(name string) string { return mechanisms[name] }

func kafka(k *v1alpha1.KafkaSource, consumer string) *run.Kafka {
	out := &run.Kafka{
		Brokers: k.Brokers, Topics: k.Topics, ConsumerGroup: k.ConsumerGroup, Latest: k.StartFrom == v1alpha1.StartLatest,
		TLS: k.TLS != nil, CA: k.TLS != nil && k.TLS.CASecretRef != nil,
	}
	if k.ConsumerGroup == "" {
		out.ConsumerGroup = consumer
	}
	if k.SASL != nil {
		out.Mechanism, out.User = mechanisms[k.SASL.Mechanism], k.SASL.Username
	}
	return out
}

// Listener are the children of a Source that listens.
func Listener(s *v1alpha1.Source, images workload.Images) ([]runtime.ApplyConfiguration, error) {
	env, err := workload.Order(ListenOrder(s))
	if err != nil {
		return nil, fmt.Errorf("building the listener: %w", err)
	}
	platformName := s.Spec.PlatformRef.Name
	args := []string{"--stream-url", platform.StreamURL(platformName, s.Namespace), "--stream-credentials-dir", workload.StreamCredentials, "--health-listen", ":8081"}
	volumes := []*corev1ac.VolumeApplyConfiguration{workload.SecretVolume("stream", naming.Stream(platformName), "")}
	mounts := []workload.Mount{{Volume: "stream", Path: workload.StreamCredentials, ReadOnly: true}}
	credentials := Credentials(s)
	ports := map[string]int32{"health": workload.HealthPort}
	if s.Spec.Webhook != nil {
		args = append(args, "--listen", ":8080")
		ports["http"] = workload.ServePort
		credentials = []Credential{{Ref: s.WebhookSecret(), Name: "WEBHOOK_SECRET"}} // it may be one that is made
	}
	for i, c := range credentials {
		name, directory := fmt.Sprintf("secret-%d", i), fmt.Sprintf("%s-%d", workload.SecretDirectory, i)
		args = append(args, "--secret", c.Name+"="+directory+"/"+c.Ref.Key)
		volumes = append(volumes, workload.SecretVolume(name, c.Ref.Name, c.Ref.Key))
		mounts = append(mounts, workload.Mount{Volume: name, Path: directory, ReadOnly: true})
	}
	pod := workload.Pod{
		Labels: listenerLabels(s), Volumes: volumes, GraceSeconds: listenerGrace, TemporarySize: "64Mi",
		Containers: []workload.Container{{
			Name: "listener", Image: images.Connector,
			Command: []string{workload.ConnectorBinary, "listen"}, Args: args,
			Env:       []*corev1ac.EnvVarApplyConfiguration{env},
			Ports:     ports,
			Resources: workload.Resources("50m", "64Mi", "512Mi"), GoMemory: true,
			Mounts:  mounts,
			Startup: workload.Probe("/healthz", "health", 2, 60),
			Ready:   workload.Probe("/readyz", "health", 5, 2),
			Live:    workload.Probe("/healthz", "health", 10, 6),
		}},
	}
	selector := map[string]string{v1alpha1.SourceLabel: s.Name, v1alpha1.ComponentLabel: naming.ComponentListener}
	replicas := int32(1)
	if s.Spec.Webhook != nil && s.Spec.Webhook.Replicas != nil {
		replicas = *s.Spec.Webhook.Replicas
	}
	if s.Spec.Suspend {
		replicas = 0
	}
	out := []runtime.ApplyConfiguration{appsv1ac.Deployment(naming.Listener(s.Name), s.Namespace).WithLabels(listenerLabels(s)).
		WithSpec(appsv1ac.DeploymentSpec().WithReplicas(replicas).
			WithSelector(metav1ac.LabelSelector().WithMatchLabels(selector)).WithTemplate(pod.Template()))}
	if s.Spec.Webhook != nil {
		l := server{naming.Listener(s.Name), s.Namespace, listenerLabels(s), selector}
		out = append(out, l.policy(), l.service(), l.disruptionBudget())
	}
	return out, nil
}

func listenerLabels(s *v1alpha1.Source) map[string]string {
	return naming.With(naming.Labels(s.Spec.PlatformRef.Name, naming.ComponentListener, s.Name), v1alpha1.SourceLabel, s.Name)
}
