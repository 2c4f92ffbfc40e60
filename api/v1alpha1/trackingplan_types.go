package v1alpha1

import (
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TrackingPlan says what the events of a Source look like, and what happens to those that look otherwise.
type TrackingPlan struct {
	// events that are planned: track events by their name, page and screen calls as Page Viewed and Screen Viewed. A track
	// event whose name is not listed is unplanned.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=500
	// +optional
	Events []PlannedEvent `json:"events,omitempty"`
	// traits is the JSON Schema of the traits of identify calls, an object.
	// +optional
	Traits *apiextensionsv1.JSON `json:"traits,omitempty"`
	// groupTraits is the JSON Schema of the traits of group calls, an object.
	// +optional
	GroupTraits *apiextensionsv1.JSON `json:"groupTraits,omitempty"`
	// onViolation is what happens to an event that breaks its schema: Allow stores it, OmitField stores it without the
	// fields that break it, Quarantine keeps it for kohort redrive, Drop forgets it. Each is counted. Default Allow.
	// +kubebuilder:validation:Enum=Allow;OmitField;Quarantine;Drop
	// +optional
	OnViolation ViolationAction `json:"onViolation,omitempty"`
	// unplannedEvents is what happens to a track event that the plan does not name. Default Allow.
	// +kubebuilder:validation:Enum=Allow;Quarantine;Drop
	// +optional
	UnplannedEvents ViolationAction `json:"unplannedEvents,omitempty"`
}

// PlannedEvent is one event of a tracking plan.
type PlannedEvent struct {
	// name of the event, as the SDK sends it.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +required
	Name string `json:"name"`
	// schema is the JSON Schema (drafts 4 to 2020-12) of the event's properties, an object. Without one only the name is
	// planned. $ref may point into the same schema only.
	// +optional
	Schema *apiextensionsv1.JSON `json:"schema,omitempty"`
}

// ViolationAction is what happens to an event that breaks a tracking plan.
type ViolationAction string

// Actions on a violation.
const (
	ViolationAllow      ViolationAction = "Allow"
	ViolationOmitField  ViolationAction = "OmitField"
	ViolationQuarantine ViolationAction = "Quarantine"
	ViolationDrop       ViolationAction = "Drop"
)

// Deduplication says when an event is one that was stored before.
type Deduplication struct {
	// window in which an event is stored once: one whose messageId was stored less than that before, from any Source of
	// the Platform, is a duplicate. From 1m to 14d. Default 7d.
	// +kubebuilder:validation:XValidation:rule="self.matches('^([1-9][0-9]{0,4}m|[1-9][0-9]{0,2}h|[1-9][0-9]?d)$') && int(self.substring(0, self.size() - 1)) * (self.endsWith('d') ? 1440 : (self.endsWith('h') ? 60 : 1)) <= 20160",message="window is from 1m to 14d, in whole minutes, hours or days such as 24h"
	// +required
	Window Duration `json:"window"`
}

// TrackingPlanStatus counts the events of the last 24 hours that broke the plan. Written by the engine.
type TrackingPlanStatus struct {
	// violating is the number of events that broke the plan.
	// +required
	Violating int64 `json:"violating"`
	// quarantined of them.
	// +optional
	Quarantined int64 `json:"quarantined,omitempty"`
	// dropped of them.
	// +optional
	Dropped int64 `json:"dropped,omitempty"`
	// violations by event, field and rule, most frequent first.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=10
	// +optional
	Violations []ViolationCount `json:"violations,omitempty"`
}

// ViolationCount counts one way in which events broke the plan.
type ViolationCount struct {
	// event is its name.
	// +kubebuilder:validation:MaxLength=256
	// +required
	Event string `json:"event"`
	// field as a JSON pointer into properties or traits, such as /products/0/price; empty for the event as a whole.
	// +kubebuilder:validation:MaxLength=512
	// +optional
	Field string `json:"field,omitempty"`
	// rule is the keyword of JSON Schema that was broken, or unplanned.
	// +kubebuilder:validation:MaxLength=64
	// +required
	Rule string `json:"rule"`
	// message of one of them, without values.
	// +kubebuilder:validation:MaxLength=256
	// +optional
	Message string `json:"message,omitempty"`
	// count of violations.
	// +required
	Count int64 `json:"count"`
	// lastSeen is when the newest one was received.
	// +optional
	LastSeen *metav1.Time `json:"lastSeen,omitempty"`
}
