package destination

import (
	"fmt"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/internal/workload"
)

// Credential is a key of a Secret that a Destination names, and how a run is given it.
type Credential struct {
	Ref   v1alpha1.SecretKeyReference
	Field string // of the spec that names it
	// Flag of the connector that takes the file.
	Flag string
	// Volume and Directory that the file is in.
	Volume, Directory string
	// Name under which the spec uses it; empty: the flag says what it is.
	Name string
}

// File is where the run finds the credential.
func (c Credential) File() string { return c.Directory + "/" + c.Ref.Key }

// Argument of the flag.
func (c Credential) Argument() string {
	if c.Name == "" {
		return c.File()
	}
	return c.Name + "=" + c.File()
}

// Credentials lists what a Destination names, in a fixed order.
func Credentials(d *v1alpha1.Destination) []Credential {
	switch {
	case d.Spec.SQL != nil:
		return []Credential{{Ref: d.Spec.SQL.DSNSecretRef, Field: "spec.sql.dsnSecretRef", Flag: "--dsn-file", Volume: "dsn", Directory: workload.DSNDirectory}}
	case d.Spec.Webhook != nil:
		return webhookCredentials(d.Spec.Webhook)
	case d.Spec.Segment != nil:
		return []Credential{token(d.Spec.Segment.WriteKeySecretRef, "spec.segment.writeKeySecretRef")}
	case d.Spec.MetaCustomAudience != nil:
		return []Credential{token(d.Spec.MetaCustomAudience.AccessTokenSecretRef, "spec.metaCustomAudience.accessTokenSecretRef")}
	case d.Spec.GoogleCustomerMatch != nil:
		return []Credential{token(d.Spec.GoogleCustomerMatch.CredentialsSecretRef, "spec.googleCustomerMatch.credentialsSecretRef")}
	case d.Spec.Files != nil && d.Spec.Files.S3 != nil:
		return s3Credentials(d.Spec.Files.S3)
	case d.Spec.Kafka != nil:
		return kafkaCredentials(d.Spec.Kafka)
	case d.Spec.NATS != nil:
		return natsCredentials(d.Spec.NATS)
	case d.Spec.Connector != nil:
		var out []Credential
		for i, named := range d.Spec.Connector.SecretRefs {
			c := numbered(i, named.SecretRef, fmt.Sprintf("spec.connector.secretRefs[%d].secretRef", i), "--secret")
			c.Name = named.Name
			out = append(out, c)
		}
		return out
	}
	return nil
}

func s3Credentials(s *v1alpha1.S3Storage) []Credential {
	if s.AccessKeyIDSecretRef == nil || s.SecretAccessKeySecretRef == nil {
		return nil
	}
	return []Credential{
		numbered(0, *s.AccessKeyIDSecretRef, "spec.files.s3.accessKeyIDSecretRef", "--s3-key-id-file"),
		numbered(1, *s.SecretAccessKeySecretRef, "spec.files.s3.secretAccessKeySecretRef", "--s3-secret-file"),
	}
}

// token is the one credential of a kind that is given in a file of its own.
func token(ref v1alpha1.SecretKeyReference, field string) Credential {
	return Credential{Ref: ref, Field: field, Flag: "--token-file", Volume: "token", Directory: workload.TokenDirectory}
}

func webhookCredentials(w *v1alpha1.WebhookDestination) []Credential {
	var out []Credential
	if w.TokenSecretRef != nil {
		out = append(out, token(*w.TokenSecretRef, "spec.webhook.tokenSecretRef"))
	}
	for i, ref := range w.SigningKeySecretRefs {
		out = append(out, Credential{Ref: ref, Field: fmt.Sprintf("spec.webhook.signingKeySecretRefs[%d]", i), Flag: "--signing-key-file",
			Volume: fmt.Sprintf("signing-%d", i), Directory: fmt.Sprintf("%s-%d", workload.SigningDirectory, i)})
	}
	return out
}

// numbered is one of several credentials, each in a directory of its own.
func numbered(i int, ref v1alpha1.SecretKeyReference, field, flag string) Credential {
	return Credential{Ref: ref, Field: field, Flag: flag, Volume: fmt.Sprintf("secret-%d", i), Directory: fmt.Sprintf("%s-%d", workload.SecretDirectory, i)}
}

func kafkaCredentials(k *v1alpha1.KafkaDestination) []Credential {
	var out []Credential
	if k.SASL != nil {
		out = append(out, numbered(0, k.SASL.PasswordSecretRef, "spec.kafka.sasl.passwordSecretRef", "--token-file"))
	}
	if k.TLS != nil && k.TLS.CASecretRef != nil {
		out = append(out, numbered(1, *k.TLS.CASecretRef, "spec.kafka.tls.caSecretRef", "--ca-file"))
	}
	return out
}

func natsCredentials(n *v1alpha1.NATSDestination) []Credential {
	switch {
	case n.PasswordSecretRef != nil:
		return []Credential{token(*n.PasswordSecretRef, "spec.nats.passwordSecretRef")}
	case n.CredentialsSecretRef != nil:
		return []Credential{token(*n.CredentialsSecretRef, "spec.nats.credentialsSecretRef")}
	}
	return nil
}
