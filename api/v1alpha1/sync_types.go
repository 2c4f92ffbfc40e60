package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SyncMode says what a destination holds of an audience; docs/syncs.md compares the modes.
// +kubebuilder:validation:Enum=Mirror;AddRemove;Upsert;Append
type SyncMode string

// Modes of Syncs.
const (
	// SyncMirror : exactly the members, each as they are; who changes is sent again, who leaves is taken out.
	SyncMirror SyncMode = "Mirror"
	// SyncAddRemove : exactly the members, each as they were when they entered; who leaves is taken out.
	SyncAddRemove SyncMode = "AddRemove"
	// SyncUpsert : the members, each as they are, and those who left; nobody is taken out.
	SyncUpsert SyncMode = "Upsert"
	// SyncAppend : each entry into the audience is sent once, and nobody is taken out.
	SyncAppend SyncMode = "Append"
)

// SyncSpec pairs an Audience with a Destination. Syncs are made by the Audience controller, never by hand.
type SyncSpec struct {
	// platformRef is the Audience's.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="platformRef cannot be changed"
	// +required
	PlatformRef LocalReference `json:"platformRef"`
	// audienceRef names the Audience.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="audienceRef cannot be changed"
	// +required
	AudienceRef LocalReference `json:"audienceRef"`
	// destinationRef names the Destination.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="destinationRef cannot be changed"
	// +required
	DestinationRef LocalReference `json:"destinationRef"`
	// mode of the sync.
	// +required
	Mode SyncMode `json:"mode"`
	// schedule of runs.
	// +required
	Schedule Schedule `json:"schedule"`
	// timeZone of a cron schedule. Default UTC.
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
	// deletionPolicy is the Audience's.
	// +required
	DeletionPolicy DeletionPolicy `json:"deletionPolicy"`
	// suspend stops the schedule.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// SyncStatus is what people read to know what was synced.
type SyncStatus struct {
	CommonStatus `json:",inline"`
	// members that the destination holds after the newest finished run.
	// +optional
	Members *int64 `json:"members,omitempty"`
	// pending rows that the newest finished run could not deliver and the next one tries first.
	// +optional
	Pending int64 `json:"pending,omitempty"`
	// lastHandledResync is the newest value of kohort.dev/resync-at that was acted on. What was delivered before it counts as
	// not delivered.
	// +kubebuilder:validation:MaxLength=128
	// +optional
	LastHandledResync string `json:"lastHandledResync,omitempty"`
	// lastRun is the newest run.
	// +optional
	LastRun *SyncRun `json:"lastRun,omitempty"`
	// nextRun of the schedule.
	// +optional
	NextRun *metav1.Time `json:"nextRun,omitempty"`
	// rejections of the newest finished run by reason, most frequent first.
	// +listType=map
	// +listMapKey=reason
	// +kubebuilder:validation:MaxItems=10
	// +optional
	Rejections []RejectionCount `json:"rejections,omitempty"`
	// history of the newest finished runs, newest first.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=10
	// +optional
	History []SyncRun `json:"history,omitempty"`
}

// SyncRun tells how one run went. Every row of the difference is in one of added, updated, removed, rejected or pending.
type SyncRun struct {
	Run `json:",inline"`
	// added is the number of members that came in.
	// +optional
	Added int64 `json:"added"`
	// updated is the number of members whose payload changed.
	// +optional
	Updated int64 `json:"updated"`
	// removed is the number of members that went out.
	// +optional
	Removed int64 `json:"removed"`
	// rejected is the number of rows that the destination refused for good.
	// +optional
	Rejected int64 `json:"rejected"`
	// suppressed is the number of members who are kept from the destination by its spec.suppress.
	// +optional
	Suppressed int64 `json:"suppressed,omitempty"`
	// retried is the number of requests that were sent again.
	// +optional
	Retried int64 `json:"retried,omitempty"`
	// revision of the membership that was delivered.
	// +optional
	Revision int64 `json:"revision,omitempty"`
}

// Sync keeps one Destination equal to one Audience.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=kohort
// +kubebuilder:printcolumn:name="Audience",type=string,JSONPath=`.spec.audienceRef.name`
// +kubebuilder:printcolumn:name="Destination",type=string,JSONPath=`.spec.destinationRef.name`
// +kubebuilder:printcolumn:name="Mode",type=string,JSONPath=`.spec.mode`
// +kubebuilder:printcolumn:name="Members",type=integer,JSONPath=`.status.members`
// +kubebuilder:printcolumn:name="Added",type=integer,JSONPath=`.status.lastRun.added`
// +kubebuilder:printcolumn:name="Removed",type=integer,JSONPath=`.status.lastRun.removed`
// +kubebuilder:printcolumn:name="Rejected",type=integer,JSONPath=`.status.lastRun.rejected`
// +kubebuilder:printcolumn:name="Last-Sync",type=date,JSONPath=`.status.lastRun.finished`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Suppressed",type=integer,priority=1,JSONPath=`.status.lastRun.suppressed`
// +kubebuilder:printcolumn:name="Status",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
type Sync struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// +required
	Spec SyncSpec `json:"spec"`
	// +kubebuilder:default={"observedGeneration":-1}
	// +optional
	Status SyncStatus `json:"status,omitempty"`
}

// SyncList is a list of Syncs.
// +kubebuilder:object:root=true
type SyncList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Sync `json:"items"`
}

// Common gives the part of the status that every kind has.
func (s *Sync) Common() *CommonStatus { return &s.Status.CommonStatus }
