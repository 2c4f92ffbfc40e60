package v1alpha1

import (
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// Moment is a point in time: RFC 3339 (2026-01-31T12:00:00Z, 2026-01-31T12:00:00+01:00), a day (2026-01-31, its first
// moment in UTC), or a Duration (90d), which is that long ago.
// +kubebuilder:validation:MinLength=2
// +kubebuilder:validation:MaxLength=40
type Moment string

// Between is the time from one moment to another. A moment that is a date is the first that counts as from, and the first
// that no longer counts as to. A moment that is a Duration counts as within does: what happened exactly that long ago no
// longer counts as from, and counts as to; so {from: 90d, to: 30d} and within: 30d have no event in common and none
// between them.
// +kubebuilder:validation:XValidation:rule="has(self.from) || has(self.to)",message="from or to is needed"
type Between struct {
	// from a moment on. Absent: from the beginning.
	// +optional
	From Moment `json:"from,omitempty"`
	// to a moment. Absent: to now.
	// +optional
	To Moment `json:"to,omitempty"`
}

// AggregateFunction says what is made of many numbers.
// +kubebuilder:validation:Enum=Sum;Average;Min;Max
type AggregateFunction string

// Aggregate functions.
const (
	AggregateSum     AggregateFunction = "Sum"
	AggregateAverage AggregateFunction = "Average"
	AggregateMin     AggregateFunction = "Min"
	AggregateMax     AggregateFunction = "Max"
)

// Aggregate compares what is made of a property's numbers with a number. Events whose property is no number are left out;
// it is false when none is left, also for the sum.
type Aggregate struct {
	// function over the numbers.
	// +required
	Function AggregateFunction `json:"function"`
	// property is a path in the event's properties, dots between its parts.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +required
	Property string `json:"property"`
	// operator is GreaterThan, AtLeast, LessThan or AtMost.
	// +kubebuilder:validation:Enum=GreaterThan;AtLeast;LessThan;AtMost
	// +required
	Operator Operator `json:"operator"`
	// value to compare with, a number.
	// +required
	Value apiextensionsv1.JSON `json:"value"`
}

// SequenceCriterion is true when there are events, one per step, of which each happened later than the one before. Of
// events at the same millisecond none is the later one.
type SequenceCriterion struct {
	// steps in their order.
	// +kubebuilder:validation:MinItems=2
	// +kubebuilder:validation:MaxItems=8
	// +listType=atomic
	// +required
	Steps []SequenceStep `json:"steps"`
	// window is the longest time from the first step to the last. Absent: any.
	// +optional
	Window Duration `json:"window,omitempty"`
	// within is how far back to look, for all steps. Absent: for ever.
	// +optional
	Within Duration `json:"within,omitempty"`
	// strict: between two steps no other event happened that has the name of any step.
	// +optional
	Strict bool `json:"strict,omitempty"`
}

// SequenceStep is one thing done.
type SequenceStep struct {
	// name of the event as it was tracked.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +required
	Name string `json:"name"`
	// where lists conditions on the event's properties; all of them must hold.
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	// +optional
	Where []PropertyCondition `json:"where,omitempty"`
}

// SampleCriterion is a part of all profiles, chosen by a hash of the profile and the salt: the same profiles at every
// evaluation and in every Audience with the same salt; a smaller sample is part of a larger one.
type SampleCriterion struct {
	// percent of all profiles.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=99
	// +required
	Percent int32 `json:"percent"`
	// salt: samples of different salts are independent of each other. Default: the Audience's name.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +optional
	Salt string `json:"salt,omitempty"`
}

// MembersCriterion is a list of profiles by their public ids, for people who test, or a hand-picked few. A list of
// identifiers (e-mail addresses, customer numbers) is personal data and belongs into a Source of kind files, whose
// records set a trait.
type MembersCriterion struct {
	// ids of profiles, as kohort profile get shows them. The id of a profile that was merged into another one stands for
	// that one.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=1000
	// +kubebuilder:validation:items:Pattern=`^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$`
	// +listType=set
	// +required
	IDs []string `json:"ids"`
}
