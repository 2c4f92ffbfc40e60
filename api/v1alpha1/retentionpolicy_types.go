package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RetentionPolicySpec says what data is deleted when. Of several policies on a row the shortest wins.
// +kubebuilder:validation:XValidation:rule="!has(self.select.events) || self.select.data == ['Events']",message="select.events is for data: [Events] alone"
// +kubebuilder:validation:XValidation:rule="!has(self.from) || self.from != 'Occurred' || self.select.data == ['Events']",message="from: Occurred is for data: [Events] alone; quarantine knows only when it was received"
type RetentionPolicySpec struct {
	// platformRef names the Platform whose data it is.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="platformRef cannot be changed; make a new RetentionPolicy"
	// +required
	PlatformRef LocalReference `json:"platformRef"`
	// select says which rows the policy covers.
	// +required
	Select RetentionSelect `json:"select"`
	// maxAge of a row. A row is deleted at the first UTC midnight after it has reached this age.
	// +required
	MaxAge Duration `json:"maxAge"`
	// from says what age counts from: Occurred, the time an event happened, or Received, the time it arrived.
	// Default Received.
	// +kubebuilder:validation:Enum=Received;Occurred
	// +optional
	From RetentionFrom `json:"from,omitempty"`
	// schedule of enforcement. Default 1h.
	// +optional
	Schedule Schedule `json:"schedule,omitempty"`
	// dryRun counts what is overdue and deletes nothing; the policy is then never Enforced while a row is overdue.
	// +optional
	DryRun bool `json:"dryRun,omitempty"`
	// suspend stops enforcement.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// RetentionFrom says what age counts from.
type RetentionFrom string

// What age counts from.
const (
	FromReceived RetentionFrom = "Received"
	FromOccurred RetentionFrom = "Occurred"
)

// RetentionData is a kind of data.
// +kubebuilder:validation:Enum=Events;Quarantine
type RetentionData string

// Kinds of data that a policy can cover.
const (
	RetainEvents     RetentionData = "Events"
	RetainQuarantine RetentionData = "Quarantine"
)

// RetentionSelect says which rows a policy covers.
type RetentionSelect struct {
	// data covered.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +required
	Data []RetentionData `json:"data"`
	// sources whose rows are covered. Absent: all.
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=63
	// +optional
	Sources []string `json:"sources,omitempty"`
	// events covered, by name. Absent: all.
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=256
	// +optional
	Events []string `json:"events,omitempty"`
}

// RetentionPolicyStatus tells what was deleted and what is left.
type RetentionPolicyStatus struct {
	CommonStatus `json:",inline"`
	// oldest row kept, by the clock of spec.from. Written by the engine.
	// +optional
	Oldest *metav1.Time `json:"oldest,omitempty"`
	// overdue is the number of rows that should be gone and are not: 0 after each enforcement. Written by the engine.
	// +optional
	Overdue *int64 `json:"overdue,omitempty"`
	// deleted rows since the policy was made, by table. Written by the engine.
	// +kubebuilder:validation:MaxProperties=16
	// +optional
	Deleted map[string]int64 `json:"deleted,omitempty"`
	// enforced is when the policy was last enforced. Written by the engine.
	// +optional
	Enforced *metav1.Time `json:"enforced,omitempty"`
	// nextEnforcement by the schedule. Written by the engine.
	// +optional
	NextEnforcement *metav1.Time `json:"nextEnforcement,omitempty"`
}

// RetentionPolicy deletes old data and proves it.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=rp,categories=kohort
// +kubebuilder:printcolumn:name="Platform",type=string,JSONPath=`.spec.platformRef.name`
// +kubebuilder:printcolumn:name="Max-Age",type=string,JSONPath=`.spec.maxAge`
// +kubebuilder:printcolumn:name="Oldest",type=string,JSONPath=`.status.oldest`
// +kubebuilder:printcolumn:name="Overdue",type=integer,JSONPath=`.status.overdue`
// +kubebuilder:printcolumn:name="Enforced",type=date,JSONPath=`.status.enforced`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Status",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
type RetentionPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// +required
	Spec RetentionPolicySpec `json:"spec"`
	// +kubebuilder:default={"observedGeneration":-1}
	// +optional
	Status RetentionPolicyStatus `json:"status,omitempty"`
}

// RetentionPolicyList is a list of RetentionPolicies.
// +kubebuilder:object:root=true
type RetentionPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []RetentionPolicy `json:"items"`
}

// Common gives the part of the status that every kind has.
func (r *RetentionPolicy) Common() *CommonStatus { return &r.Status.CommonStatus }

// GetFrom is spec.from or its default, Received.
func (r *RetentionPolicy) GetFrom() RetentionFrom {
	if r.Spec.From == "" {
		return FromReceived
	}
	return r.Spec.From
}

// GetSchedule is spec.schedule or its default, 1h.
func (r *RetentionPolicy) GetSchedule() Schedule {
	if r.Spec.Schedule == "" {
		return "1h"
	}
	return r.Spec.Schedule
}
