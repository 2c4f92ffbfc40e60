package engine

import (
	"maps"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"kohort.dev/kohort/internal/audience/membership"
	"kohort.dev/kohort/internal/retention"
)

// facts are what the loops have seen and the statuses are made of. An object that no loop has looked at since this
// process began to lead has no entry, and its status stays as it is.
type facts struct {
	// changed wakes who writes them down.
	changed chan struct{}

	mu        sync.Mutex
	audiences map[types.UID]audienceFacts
	flows     map[string]membership.Flow // nil: not counted yet
	policies  map[types.UID]policyFacts
	census    *census // nil: not counted yet
}

func newFacts() *facts {
	return &facts{changed: make(chan struct{}, 1), audiences: map[types.UID]audienceFacts{}, policies: map[types.UID]policyFacts{}}
}

// audienceFacts are about one Audience.
type audienceFacts struct {
	// verdict on the newest generation looked at.
	verdict
	// result of the newest evaluation that succeeded; nil when there is none in this process.
	result *evaluated
	// held is the change that the guard keeps back; nil when there is none.
	held *membership.Hold
}

type evaluated struct {
	membership.Result
	at         time.Time // zero: not by this process
	generation int64
	rolledBack uint64 // revision whose members were brought back; 0: none
}

// verdict is the outcome of the newest attempt.
type verdict struct {
	generation int64
	ok         bool
	reason     string
	message    string
}

// policyFacts are about one RetentionPolicy.
type policyFacts struct {
	verdict
	// outcome of the newest enforcement; nil when there is none in this process, or it failed.
	outcome *retention.Outcome
	// deleted since the policy was made, by table.
	deleted map[string]int64
	// enforced is when the newest enforcement ended; next when the next one is due. Zero: not known, or none.
	enforced, next time.Time
}

// census is what the tables hold.
type census struct {
	profiles, events int64
	schema           int64
	sources          map[string]sourceCount
	plans            map[string]planCount // what broke the plan of each Source; none where nothing did
}

type sourceCount struct {
	accepted, rejected int64
	last               time.Time
}

// snapshot of all facts, to be read without the lock.
type snapshot struct {
	audiences map[types.UID]audienceFacts
	flows     map[string]membership.Flow
	policies  map[types.UID]policyFacts
	census    *census
}

func (f *facts) read() snapshot {
	f.mu.Lock()
	defer f.mu.Unlock()
	return snapshot{maps.Clone(f.audiences), f.flows, maps.Clone(f.policies), f.census}
}

// update changes facts and wakes who writes them down.
func (f *facts) update(change func(f *facts)) {
	f.mu.Lock()
	change(f)
	f.mu.Unlock()
	wake(f.changed)
}

// judge records a verdict on an Audience; a result of before stays.
func (f *facts) judge(uid types.UID, v verdict) {
	f.update(func(f *facts) {
		a := f.audiences[uid]
		a.verdict = v
		f.audiences[uid] = a
	})
}

// wake sends unless one waits already.
func wake(signal chan<- struct{}) {
	select {
	case signal <- struct{}{}:
	default:
	}
}
