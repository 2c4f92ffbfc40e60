package v1alpha1

// RateLimit bounds what all Syncs to a Destination together ask of it.
type RateLimit struct {
	// perSecond is how many requests are made in a second, on average. Absent: no limit.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	// +optional
	PerSecond *int32 `json:"perSecond,omitempty"`
	// concurrency is how many Syncs may have a run at a time; each makes one request at a time. Default 1 with perSecond,
	// which they share in equal parts; without it no limit.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=64
	// +optional
	Concurrency *int32 `json:"concurrency,omitempty"`
	// batchSize is how many customers a request has at most. Default 500.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=500
	// +optional
	BatchSize *int32 `json:"batchSize,omitempty"`
}

// Retry says how often and how long a run tries again; docs/destinations.md has the classes of failures.
type Retry struct {
	// attempts at a batch until it is cut in halves, or, if it is a single customer, left for the next run. Default 4.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=20
	// +optional
	Attempts *int32 `json:"attempts,omitempty"`
	// maxDelay is the longest pause between two attempts that a run chooses itself; the first is half a second, and each
	// further one twice as long. A Retry-After of the destination goes before it. Default 20s.
	// +optional
	MaxDelay Duration `json:"maxDelay,omitempty"`
	// giveUpAfter is how long a destination may take or refuse nothing until the run ends and fails. Default 2m.
	// +optional
	GiveUpAfter Duration `json:"giveUpAfter,omitempty"`
}

// GetConcurrency is how many runs there may be at a time; 0 for any number.
func (r *RateLimit) GetConcurrency() int {
	switch {
	case r == nil:
		return 0
	case r.Concurrency != nil:
		return int(*r.Concurrency)
	case r.PerSecond != nil:
		return 1
	}
	return 0
}
