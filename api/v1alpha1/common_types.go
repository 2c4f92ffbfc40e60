package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Annotations and labels that people and controllers exchange.
const (
	// RequestedAtAnnotation asks for a run now. Any new value is a new request; it is echoed in status.lastHandledRequest.
	RequestedAtAnnotation = "kohort.dev/requested-at"
	// ResyncAnnotation on a Sync sends everything again, whatever was delivered. Any new value is a new request; it is
	// echoed in status.lastHandledResync.
	ResyncAnnotation = "kohort.dev/resync-at"
	// ApproveAnnotation on an Audience lets the change through that its guard keeps back and whose token it names.
	ApproveAnnotation = "kohort.dev/approve"
	// RollbackAnnotation on an Audience names the revision whose members are brought back. While it is there, the rule is
	// not evaluated.
	RollbackAnnotation = "kohort.dev/rollback-to"
	// PlatformLabel names the Platform that an object belongs to.
	PlatformLabel = "kohort.dev/platform"
	// ComponentLabel names the part of a Platform that a workload is: store, engine, collector, puller or sync.
	ComponentLabel = "kohort.dev/component"
	// SourceLabel names the Source that a workload serves.
	SourceLabel = "kohort.dev/source"
	// SyncLabel names the Sync that a Job runs.
	SyncLabel = "kohort.dev/sync"
	// DestinationLabel names the Destination that a Job delivers to.
	DestinationLabel = "kohort.dev/destination"
)

// LocalReference names an object in the same namespace.
type LocalReference struct {
	// name of the object.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name"`
}

// SecretKeyReference names one key of a Secret in the same namespace.
type SecretKeyReference struct {
	// name of the Secret.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name"`
	// key in the Secret's data.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Key string `json:"key"`
}

// Duration is a length of time as Prometheus writes it: 15m, 36h, 90d, 1y. A day is 24 hours and a year 365 days
// (github.com/prometheus/common/model.ParseDuration).
// +kubebuilder:validation:Pattern=`^(([0-9]+)y)?(([0-9]+)w)?(([0-9]+)d)?(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?$`
// +kubebuilder:validation:MinLength=2
// +kubebuilder:validation:MaxLength=32
type Duration string

// Schedule is an interval (15m, 24h) or a cron expression of five fields (0 6 * * *).
// +kubebuilder:validation:MinLength=2
// +kubebuilder:validation:MaxLength=128
type Schedule string

// CommonStatus is what every kind reports.
type CommonStatus struct {
	// observedGeneration is the newest generation of the spec that was handled in full; -1 before the first time.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// conditions tell how the object is doing. Ready is always there; Reconciling and Stalled only while they are True.
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// lastHandledRequest is the newest value of the annotation kohort.dev/requested-at that was acted on.
	// +kubebuilder:validation:MaxLength=128
	// +optional
	LastHandledRequest string `json:"lastHandledRequest,omitempty"`
}

// Run tells how one run of a Job went: a pull of a Source, or a Sync.
type Run struct {
	// name of the Job.
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name"`
	// slot is the moment that the schedule asked for.
	// +optional
	Slot *metav1.Time `json:"slot,omitempty"`
	// from is the beginning of the time that a scheduled run of a Source covers; slot is its end.
	// +optional
	From *metav1.Time `json:"from,omitempty"`
	// started is when the Job started.
	// +optional
	Started *metav1.Time `json:"started,omitempty"`
	// finished is when the Job ended; absent while it runs.
	// +optional
	Finished *metav1.Time `json:"finished,omitempty"`
	// generation of the Source, or of the Sync's Audience, that the run was made for.
	// +optional
	Generation int64 `json:"generation,omitempty"`
	// order is a fingerprint of what the run was asked to do. When the spec asks for something else, another run is due.
	// +kubebuilder:validation:MaxLength=64
	// +optional
	Order string `json:"order,omitempty"`
	// result is Running, Succeeded or Failed.
	// +kubebuilder:validation:Enum=Running;Succeeded;Failed
	// +required
	Result string `json:"result"`
	// reason says in one CamelCase word why a run failed.
	// +kubebuilder:validation:MaxLength=128
	// +optional
	Reason string `json:"reason,omitempty"`
	// message says what happened, and what to do about it when it failed.
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	Message string `json:"message,omitempty"`
}

// Results of a Run.
const (
	RunRunning   = "Running"
	RunSucceeded = "Succeeded"
	RunFailed    = "Failed"
)

// RejectionCount counts rows that were refused for one reason.
type RejectionCount struct {
	// reason is a CamelCase word.
	// +kubebuilder:validation:MaxLength=128
	// +required
	Reason string `json:"reason"`
	// count of rows.
	// +required
	Count int64 `json:"count"`
	// example is the message of one such row, without personal data.
	// +kubebuilder:validation:MaxLength=256
	// +optional
	Example string `json:"example,omitempty"`
}
