package v1alpha1

import (
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AudienceSpec defines a set of customers and the destinations that hold it.
type AudienceSpec struct {
	// platformRef names the Platform whose profiles are asked.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="platformRef cannot be changed; make a new Audience"
	// +required
	PlatformRef LocalReference `json:"platformRef"`
	// description for people.
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	Description string `json:"description,omitempty"`
	// criteria are named questions about a profile; match combines their answers.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +required
	Criteria []Criterion `json:"criteria"`
	// match is a CEL expression over the names of the criteria with &&, || and !, such as
	// "buyers && !recent && (fr || de)". Absent: all of them.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	// +optional
	Match string `json:"match,omitempty"`
	// evaluation says when the membership is computed.
	// +optional
	Evaluation Evaluation `json:"evaluation,omitempty,omitzero"`
	// guard stops an evaluation that would change too much, and asks. Absent: every change is published.
	// +optional
	Guard *Guard `json:"guard,omitempty"`
	// destinations that hold the members.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	// +optional
	Destinations []AudienceDestination `json:"destinations,omitempty"`
	// deletionPolicy says what happens downstream when the Audience, or a destination in it, is deleted: Remove takes
	// the members out first; Retain leaves them. Default Remove.
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
	// suspend stops evaluation and syncs; members stay as they are.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// DeletionPolicy says what happens to members downstream.
// +kubebuilder:validation:Enum=Remove;Retain
type DeletionPolicy string

// Deletion policies.
const (
	DeletionRemove DeletionPolicy = "Remove"
	DeletionRetain DeletionPolicy = "Retain"
)

// Criterion asks one question about a profile. Exactly one of event, sequence, trait, audience, sample and members is set.
// +kubebuilder:validation:XValidation:rule="[has(self.event), has(self.sequence), has(self.trait), has(self.audience), has(self.sample), has(self.members)].filter(x, x).size() == 1",message="exactly one of event, sequence, trait, audience, sample and members is needed"
type Criterion struct {
	// name that match uses: a letter, then letters, digits and underscores.
	// +kubebuilder:validation:Pattern=`^[a-zA-Z][a-zA-Z0-9_]{0,62}$`
	// +kubebuilder:validation:XValidation:rule="!(self in ['true', 'false', 'null', 'in', 'as', 'break', 'const', 'continue', 'else', 'for', 'function', 'if', 'import', 'let', 'loop', 'package', 'namespace', 'return', 'var', 'void', 'while'])",message="this name is a word of CEL; choose another"
	// +required
	Name string `json:"name"`
	// event is true for profiles that did something often enough.
	// +optional
	Event *EventCriterion `json:"event,omitempty"`
	// sequence is true for profiles that did several things one after the other.
	// +optional
	Sequence *SequenceCriterion `json:"sequence,omitempty"`
	// trait is true for profiles with a trait.
	// +optional
	Trait *TraitCriterion `json:"trait,omitempty"`
	// audience is true for members of another Audience of the same Platform.
	// +optional
	Audience *LocalReference `json:"audience,omitempty"`
	// sample is true for a part of all profiles, always the same one. A rule needs something else beside it.
	// +optional
	Sample *SampleCriterion `json:"sample,omitempty"`
	// members is true for the profiles of a list.
	// +optional
	Members *MembersCriterion `json:"members,omitempty"`
}

// EventCriterion counts a profile's events of one name.
// +kubebuilder:validation:XValidation:rule="!has(self.within) || !has(self.between)",message="within and between exclude each other; between {from} is within"
type EventCriterion struct {
	// name of the event as it was tracked. Pages and screens are named "Page Viewed" and "Screen Viewed".
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +required
	Name string `json:"name"`
	// count of events needed. Default: at least one.
	// +optional
	Count *Count `json:"count,omitempty"`
	// within is how far back to look, by the time the event happened. Absent: for ever.
	// +optional
	Within Duration `json:"within,omitempty"`
	// between is the time to look at, for one that does not end now.
	// +optional
	Between *Between `json:"between,omitempty"`
	// where lists conditions on the event's properties; all of them must hold.
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	// +optional
	Where []PropertyCondition `json:"where,omitempty"`
	// aggregate is a condition on a property over all the events that count, beside the one on their number.
	// +optional
	Aggregate *Aggregate `json:"aggregate,omitempty"`
}

// Count bounds a number of events, both ends included.
// +kubebuilder:validation:XValidation:rule="has(self.min) || has(self.max)",message="min or max is needed"
// +kubebuilder:validation:XValidation:rule="!has(self.min) || !has(self.max) || self.min <= self.max",message="min must not exceed max"
type Count struct {
	// min number of events. Default 0 when max is given.
	// +kubebuilder:validation:Minimum=0
	// +optional
	Min *int64 `json:"min,omitempty"`
	// max number of events; {max: 0} means never.
	// +kubebuilder:validation:Minimum=0
	// +optional
	Max *int64 `json:"max,omitempty"`
}

// Operator compares a value with the values of a condition. Words compare with words, numbers with numbers, booleans
// with booleans; a value of another type does not match. A moment is a text such as 2026-01-31T12:00:00Z, or with another offset, or 2026-01-31, the first moment of
// that day in UTC. NotEquals, NotContains and NotExists are also true for what is
// not there.
// +kubebuilder:validation:Enum=Equals;NotEquals;GreaterThan;AtLeast;LessThan;AtMost;Contains;NotContains;StartsWith;EndsWith;Exists;NotExists;Matches;Before;After;On;WithinLast;WithinNext;BeforeLast;AfterNext
type Operator string

// Operators.
const (
	// OperatorEquals : equal to any of values.
	OperatorEquals Operator = "Equals"
	// OperatorNotEquals : equal to none of values, or not there.
	OperatorNotEquals Operator = "NotEquals"
	// OperatorGreaterThan : a number greater than the one value.
	OperatorGreaterThan Operator = "GreaterThan"
	// OperatorAtLeast : a number greater than or equal to the one value.
	OperatorAtLeast Operator = "AtLeast"
	// OperatorLessThan : a number less than the one value.
	OperatorLessThan Operator = "LessThan"
	// OperatorAtMost : a number less than or equal to the one value.
	OperatorAtMost Operator = "AtMost"
	// OperatorContains : a text with any of values in it, or a list with any of values among its elements.
	OperatorContains Operator = "Contains"
	// OperatorNotContains : the opposite of Contains, or not there.
	OperatorNotContains Operator = "NotContains"
	// OperatorStartsWith : a text that starts with any of values.
	OperatorStartsWith Operator = "StartsWith"
	// OperatorEndsWith : a text that ends with any of values.
	OperatorEndsWith Operator = "EndsWith"
	// OperatorExists : there, and not null.
	OperatorExists Operator = "Exists"
	// OperatorNotExists : not there, or null.
	OperatorNotExists Operator = "NotExists"
	// OperatorMatches : a text in which any of values, regular expressions (RE2), matches somewhere.
	OperatorMatches Operator = "Matches"
	// OperatorBefore : a moment before the one value, a moment.
	OperatorBefore Operator = "Before"
	// OperatorAfter : a moment after the one value, a moment.
	OperatorAfter Operator = "After"
	// OperatorOn : a moment in the 24 hours from the one value on, a moment.
	OperatorOn Operator = "On"
	// OperatorWithinLast : a moment in the past, less long ago than the one value, a Duration.
	OperatorWithinLast Operator = "WithinLast"
	// OperatorWithinNext : a moment in the future, at most as far away as the one value, a Duration.
	OperatorWithinNext Operator = "WithinNext"
	// OperatorBeforeLast : a moment at least as long ago as the one value, a Duration.
	OperatorBeforeLast Operator = "BeforeLast"
	// OperatorAfterNext : a moment in the future, further away than the one value, a Duration.
	OperatorAfterNext Operator = "AfterNext"
)

// PropertyCondition is a condition on one property of an event. The operator says whether its values fit the operator:
// rules in the schema (CEL) cannot see values of any type.
type PropertyCondition struct {
	// property is a path in the event's properties, dots between its parts.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +required
	Property string `json:"property"`
	// operator compares the property with values.
	// +required
	Operator Operator `json:"operator"`
	// values are texts, numbers or booleans, as YAML writes them.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	// +listType=atomic
	// +optional
	Values []apiextensionsv1.JSON `json:"values,omitempty"`
}

// TraitCriterion is a condition on one trait of a profile. Whether its values fit its operator is checked as for a
// PropertyCondition.
type TraitCriterion struct {
	// name of the trait.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +required
	Name string `json:"name"`
	// operator compares the trait with values.
	// +required
	Operator Operator `json:"operator"`
	// values are texts, numbers or booleans, as YAML writes them.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	// +listType=atomic
	// +optional
	Values []apiextensionsv1.JSON `json:"values,omitempty"`
}

// Evaluation says when the membership is computed.
type Evaluation struct {
	// every is the time between two evaluations. Default 1m. A change of the spec is evaluated at once.
	// +optional
	Every Duration `json:"every,omitempty"`
}

// Guard bounds how much one evaluation may change. A change beyond it is kept back until a person approves it with the
// annotation kohort.dev/approve; an Audience without members is never stopped.
type Guard struct {
	// maxChangePercent of the members may enter and leave in one evaluation, both counted together.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	// +required
	MaxChangePercent int32 `json:"maxChangePercent"`
	// minChange is how many customers may always enter and leave, so that a small Audience is not stopped by a few.
	// Default 100.
	// +kubebuilder:validation:Minimum=0
	// +optional
	MinChange *int64 `json:"minChange,omitempty"`
}

// AudienceDestination says how one destination holds the members.
type AudienceDestination struct {
	// name of the Destination.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +required
	Name string `json:"name"`
	// mode of the sync. Default Mirror: the destination holds exactly the members, each as they are.
	// +optional
	Mode SyncMode `json:"mode,omitempty"`
	// schedule of the sync's runs. Default 15m.
	// +optional
	Schedule Schedule `json:"schedule,omitempty"`
	// timeZone of a cron schedule, an IANA name. Default UTC.
	// +kubebuilder:validation:MaxLength=64
	// +optional
	TimeZone string `json:"timeZone,omitempty"`
	// identifiers to send, by type. Absent: all.
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	// +optional
	Identifiers []string `json:"identifiers,omitempty"`
	// traits to send: the field's name at the destination, and the trait that fills it.
	// +kubebuilder:validation:MaxProperties=64
	// +optional
	Traits map[string]string `json:"traits,omitempty"`
}

// AudienceStatus tells how an Audience is doing.
type AudienceStatus struct {
	CommonStatus `json:",inline"`
	// size is the number of members. Written by the engine.
	// +optional
	Size *int64 `json:"size,omitempty"`
	// entered24h is how many customers became members in the last 24 hours. Written by the engine.
	// +optional
	Entered24h *int64 `json:"entered24h,omitempty"`
	// exited24h is how many customers stopped being members in the last 24 hours. Written by the engine.
	// +optional
	Exited24h *int64 `json:"exited24h,omitempty"`
	// evaluated is when the membership was last computed. Written by the engine.
	// +optional
	Evaluated *metav1.Time `json:"evaluated,omitempty"`
	// evaluatedGeneration is the generation of the spec that the membership was computed from. Written by the engine.
	// +optional
	EvaluatedGeneration *int64 `json:"evaluatedGeneration,omitempty"`
	// revision counts the changes of the membership. Written by the engine.
	// +optional
	Revision *int64 `json:"revision,omitempty"`
	// held is the change that spec.guard keeps back; absent when there is none. Written by the engine.
	// +optional
	Held *HeldChange `json:"held,omitempty"`
	// rolledBackTo is the revision whose members were brought back; absent when they are those of the rule. Written by the
	// engine.
	// +optional
	RolledBackTo *int64 `json:"rolledBackTo,omitempty"`
	// synced is how many of the destinations hold the members, such as 2/3.
	// +kubebuilder:validation:MaxLength=16
	// +optional
	Synced string `json:"synced,omitempty"`
}

// HeldChange is a change of the members that waits for a person.
type HeldChange struct {
	// token names the change: the annotation kohort.dev/approve with this value lets it through, and no other.
	// +kubebuilder:validation:MaxLength=64
	// +required
	Token string `json:"token"`
	// entering is how many customers it would make members.
	// +required
	Entering int64 `json:"entering"`
	// leaving is how many members it would take out.
	// +required
	Leaving int64 `json:"leaving"`
	// since is when it was computed.
	// +required
	Since metav1.Time `json:"since"`
}

// Audience is a set of customers, defined by what they are and did.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=aud,categories=kohort
// +kubebuilder:printcolumn:name="Platform",type=string,JSONPath=`.spec.platformRef.name`
// +kubebuilder:printcolumn:name="Size",type=integer,JSONPath=`.status.size`
// +kubebuilder:printcolumn:name="Entered-24h",type=integer,JSONPath=`.status.entered24h`
// +kubebuilder:printcolumn:name="Exited-24h",type=integer,JSONPath=`.status.exited24h`
// +kubebuilder:printcolumn:name="Evaluated",type=date,JSONPath=`.status.evaluated`
// +kubebuilder:printcolumn:name="Synced",type=string,JSONPath=`.status.synced`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Status",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 63",message="an Audience's name has at most 63 characters"
type Audience struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// +required
	Spec AudienceSpec `json:"spec"`
	// +kubebuilder:default={"observedGeneration":-1}
	// +optional
	Status AudienceStatus `json:"status,omitempty"`
}

// AudienceList is a list of Audiences.
// +kubebuilder:object:root=true
type AudienceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Audience `json:"items"`
}

// Common gives the part of the status that every kind has.
func (a *Audience) Common() *CommonStatus { return &a.Status.CommonStatus }

// EvaluateEvery is spec.evaluation.every or its default, 1m.
func (a *Audience) EvaluateEvery() Duration {
	if a.Spec.Evaluation.Every == "" {
		return "1m"
	}
	return a.Spec.Evaluation.Every
}

// GetDeletionPolicy is spec.deletionPolicy or its default, Remove.
func (a *Audience) GetDeletionPolicy() DeletionPolicy {
	if a.Spec.DeletionPolicy == "" {
		return DeletionRemove
	}
	return a.Spec.DeletionPolicy
}

// GetMinChange is minChange or its default, 100.
func (g Guard) GetMinChange() int64 {
	if g.MinChange == nil {
		return 100
	}
	return *g.MinChange
}

// GetMode is mode or its default, Mirror.
func (d AudienceDestination) GetMode() SyncMode {
	if d.Mode == "" {
		return SyncMirror
	}
	return d.Mode
}

// GetSchedule is schedule or its default, 15m.
func (d AudienceDestination) GetSchedule() Schedule {
	if d.Schedule == "" {
		return "15m"
	}
	return d.Schedule
}
