package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	corev1 "k8s.io/api/core/v1"
)

// PlatformType says what a Platform is for, and so what data it may hold.
// +kubebuilder:validation:Enum=CDP
type PlatformType string

// PlatformCDP is a customer data platform: personal data, one long-lived profile per customer.
const PlatformCDP PlatformType = "CDP"

// PlatformSpec describes one customer data platform: its store, its stream, its engine and how people are recognised.
type PlatformSpec struct {
	// type of platform. It decides what data may be held and cannot be changed.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="type cannot be changed; make a new Platform"
	// +required
	Type PlatformType `json:"type"`
	// storage holds events, profiles and audiences.
	// +required
	Storage StorageSpec `json:"storage"`
	// stream keeps what was acknowledged until the engine has stored it.
	// +optional
	Stream StreamSpec `json:"stream,omitempty,omitzero"`
	// identity says which identifiers make two events one customer's.
	// +optional
	Identity IdentitySpec `json:"identity,omitempty,omitzero"`
	// engine computes profiles and audiences.
	// +optional
	Engine EngineSpec `json:"engine,omitempty,omitzero"`
	// suspend stops the engine; collectors go on acknowledging into the stream, and nothing is lost while the stream's
	// retention lasts.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// StorageSpec says where data is kept.
// +kubebuilder:validation:XValidation:rule="has(self.embedded)",message="storage needs embedded: {size: 20Gi}"
type StorageSpec struct {
	// embedded runs one store pod with a volume for this Platform.
	// +optional
	Embedded *EmbeddedStorage `json:"embedded,omitempty"`
}

// EmbeddedStorage is one pod with a volume: the ClickHouse engine and JetStream side by side.
// +kubebuilder:validation:XValidation:rule="has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",message="storageClassName cannot be changed; make a new Platform and copy the data"
// +kubebuilder:validation:XValidation:rule="quantity(self.size).compareTo(quantity(oldSelf.size)) >= 0",message="size cannot shrink"
type EmbeddedStorage struct {
	// size of the volume. It can grow, if the storage class allows expansion, and not shrink.
	// +required
	Size resource.Quantity `json:"size"`
	// storageClassName of the volume; the cluster's default class when absent.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +optional
	StorageClassName *string `json:"storageClassName,omitempty"`
	// resources of the warehouse container. Its memory limit bounds every query. Default: requests 150m and 448Mi, limit 4Gi.
	// +optional
	Resources *corev1.ResourceRequirements `json:"resources,omitempty"`
}

// StreamSpec describes the log of acknowledged events.
type StreamSpec struct {
	// retention is how long the stream keeps an event, stored or not: the time that an engine may be away without loss.
	// Default 7d.
	// +optional
	Retention Duration `json:"retention,omitempty"`
}

// IdentitySpec says how people are recognised.
type IdentitySpec struct {
	// identifiers in order of priority, highest first. When a limit would be broken the lowest-priority identifier of
	// the event is left out of the match. Default: userId (unique), email, anonymousId.
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=32
	// +optional
	Identifiers []IdentifierRule `json:"identifiers,omitempty"`
}

// IdentifierRule describes one type of identifier.
// +kubebuilder:validation:XValidation:rule="!has(self.unique) || !self.unique || !has(self.limit) || self.limit == 1",message="unique means limit 1: leave limit out"
// +kubebuilder:validation:XValidation:rule="!has(self.unique) || !self.unique || !has(self.window)",message="unique is for ever: leave window out"
// +kubebuilder:validation:XValidation:rule="!has(self.region) || (has(self.normalize) ? self.normalize == 'Phone' : self.type == 'phone')",message="region is for telephone numbers: set normalize to Phone, or leave region out"
// +kubebuilder:validation:XValidation:rule="!has(self.compose) || (!has(self.normalize) && !(self.type in ['userId', 'anonymousId', 'email', 'phone']))",message="compose makes a type of its own and is normalised as names are: give it another type, such as person, and leave normalize out"
type IdentifierRule struct {
	// type is userId, anonymousId, email, phone, or the name of a trait or of context.externalIds[].type; with compose a
	// name of your own.
	// +kubebuilder:validation:Pattern=`^[A-Za-z][A-Za-z0-9_.-]{0,62}$`
	// +required
	Type string `json:"type"`
	// limit is how many values of this type one profile may hold. Default 5 (1 when unique).
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	// +optional
	Limit int32 `json:"limit,omitempty"`
	// window makes the limit one of time: of this type a profile may take limit values within any such span, by the time
	// of the events that brought them. Without it the limit holds for ever. Whatever the window, a profile holds at most
	// 1000 identifiers.
	// +optional
	Window Duration `json:"window,omitempty"`
	// unique identifiers name one person for ever: two values never share a profile.
	// +optional
	Unique bool `json:"unique,omitempty"`
	// normalize says how values are written before they are compared. Exact: as they are, without blanks around them.
	// Lowercase. Digits: only the digits. Email: in lower case; what is no address identifies nobody. Mailbox: as Email,
	// and for gmail.com and googlemail.com without dots and +tags, which lead to one mailbox there. Phone: as +49301234567;
	// what is no possible number identifies nobody. Default: Email for email, Phone for phone, Exact for all others.
	// +kubebuilder:validation:Enum=Exact;Lowercase;Digits;Email;Mailbox;Phone
	// +optional
	Normalize string `json:"normalize,omitempty"`
	// region is the country, as two letters of ISO 3166, of telephone numbers that are written without a country code.
	// Without it such numbers identify nobody, for every country has them.
	// +kubebuilder:validation:Pattern=`^[A-Z]{2}$`
	// +optional
	Region string `json:"region,omitempty"`
	// blockedValues of this type identify nobody, beside those that are blocked for all: null, anonymous, 0 and the like.
	// They are compared after they are normalised.
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=500
	// +listType=set
	// +optional
	BlockedValues []string `json:"blockedValues,omitempty"`
	// compose makes the identifier of several traits, for records of people without an id: the values in this order, in
	// lower case, without accents, punctuation and blanks, joined by |. When one is missing there is no identifier.
	// +kubebuilder:validation:MinItems=2
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=200
	// +listType=atomic
	// +optional
	Compose []string `json:"compose,omitempty"`
}

// EngineSpec describes the engine's workload.
type EngineSpec struct {
	// resources of the engine. Default: requests 100m and 256Mi, limit 1Gi.
	// +optional
	Resources *corev1.ResourceRequirements `json:"resources,omitempty"`
	// keys open parts of the engine's API, beside the token of the Secret <platform>-api, which opens all of it.
	// +kubebuilder:validation:MaxItems=16
	// +listType=map
	// +listMapKey=name
	// +optional
	Keys []APIKey `json:"keys,omitempty"`
}

// APIKey opens parts of the engine's API.
type APIKey struct {
	// name of the key, for those who read the Platform and the engine's answers.
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	// +required
	Name string `json:"name"`
	// scopes that the key opens.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=5
	// +listType=set
	// +required
	Scopes []APIScope `json:"scopes"`
	// secretRef names the text of the key. It may be rotated; as long as it is not there, or empty, it opens nothing.
	// +required
	SecretRef SecretKeyReference `json:"secretRef"`
}

// APIScope is a part of the engine's API. Audiences are those of one customer and nothing else; Profiles everything of a
// customer or an account, audiences included; Identity why identifiers are one customer, and unmerging them; Preview what an
// Audience would be; Quarantine what was not taken in, why, and redriving it.
// +kubebuilder:validation:Enum=Audiences;Profiles;Identity;Preview;Quarantine
type APIScope string

// Scopes of keys.
const (
	ScopeAudiences  APIScope = "Audiences"
	ScopeProfiles   APIScope = "Profiles"
	ScopeIdentity   APIScope = "Identity"
	ScopePreview    APIScope = "Preview"
	ScopeQuarantine APIScope = "Quarantine"
)

// PlatformStatus tells how a Platform is doing.
type PlatformStatus struct {
	CommonStatus `json:",inline"`
	// storage in a word and its size, such as "Embedded 20Gi".
	// +optional
	Storage string `json:"storage,omitempty"`
	// profiles is the number of customers known. Written by the engine.
	// +optional
	Profiles *int64 `json:"profiles,omitempty"`
	// events is the number of events stored. Written by the engine.
	// +optional
	Events *int64 `json:"events,omitempty"`
	// schemaVersion of the warehouse. Written by the engine.
	// +optional
	SchemaVersion *int64 `json:"schemaVersion,omitempty"`
}

// Platform is a customer data platform: a store, a stream and an engine that unifies profiles and computes audiences.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=plat,categories=kohort
// +kubebuilder:printcolumn:name="Type",type=string,JSONPath=`.spec.type`
// +kubebuilder:printcolumn:name="Storage",type=string,JSONPath=`.status.storage`
// +kubebuilder:printcolumn:name="Profiles",type=integer,JSONPath=`.status.profiles`
// +kubebuilder:printcolumn:name="Events",type=integer,JSONPath=`.status.events`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Status",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 40",message="a Platform's name has at most 40 characters, for the names of its workloads are made from it"
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="a Platform's name starts with a letter and has no dots, for the names of its Services are made from it"
type Platform struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// +required
	Spec PlatformSpec `json:"spec"`
	// +kubebuilder:default={"observedGeneration":-1}
	// +optional
	Status PlatformStatus `json:"status,omitempty"`
}

// PlatformList is a list of Platforms.
// +kubebuilder:object:root=true
type PlatformList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Platform `json:"items"`
}

// Common gives the part of the status that every kind has.
func (p *Platform) Common() *CommonStatus { return &p.Status.CommonStatus }

// StreamRetention is spec.stream.retention or its default, 7d.
func (p *Platform) StreamRetention() Duration {
	if p.Spec.Stream.Retention == "" {
		return "7d"
	}
	return p.Spec.Stream.Retention
}

// Identifiers are the rules of spec.identity with every default filled in, highest priority first.
func (p *Platform) Identifiers() []IdentifierRule {
	rules := p.Spec.Identity.Identifiers
	if len(rules) == 0 {
		rules = []IdentifierRule{{Type: "userId", Unique: true}, {Type: "email"}, {Type: "anonymousId", Limit: 100}}
	}
	out := make([]IdentifierRule, len(rules))
	for i, rule := range rules {
		out[i] = rule.withDefaults()
	}
	return out
}

func (r IdentifierRule) withDefaults() IdentifierRule {
	if r.Unique {
		r.Limit = 1
	}
	if r.Limit == 0 {
		r.Limit = 5
	}
	if r.Normalize == "" {
		switch r.Type {
		case "email":
			r.Normalize = "Email"
		case "phone":
			r.Normalize = "Phone"
		default:
			r.Normalize = "Exact"
		}
	}
	return r
}
