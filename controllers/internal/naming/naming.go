// Package naming knows the names and labels of everything that the operator makes. A name is a function of its owner's
// name and, for a run, of the slot: a controller that starts over makes the same names again.
package naming

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"time"

	"kohort.dev/kohort/api/v1alpha1"
)

// FieldManager is the operator's name in managedFields.
const FieldManager = "kohort-operator"

const (
	// ManagedByLabel has the value FieldManager on every object that the operator makes. Its caches select by it.
	ManagedByLabel = "app.kubernetes.io/managed-by"
	nameLabel      = "app.kubernetes.io/name"
	instanceLabel  = "app.kubernetes.io/instance"
	componentLabel = "app.kubernetes.io/component"
)

// Components, the values of v1alpha1.ComponentLabel.
const (
	ComponentStore     = "store"
	ComponentEngine    = "engine"
	ComponentCollector = "collector"
	ComponentListener  = "listener"
	ComponentPuller    = "puller"
	ComponentSync      = "sync"
)

// Annotations of a run's Job.
const (
	// SlotAnnotation is the moment that the run stands for, RFC 3339.
	SlotAnnotation = "kohort.dev/slot"
	// FromAnnotation is the beginning of the time that the run covers, RFC 3339.
	FromAnnotation = "kohort.dev/from"
	// OrderAnnotation is the fingerprint of what the run was asked to do.
	OrderAnnotation = "kohort.dev/order"
	// GenerationAnnotation is the generation of the Source, or of the Sync's Audience, that the run was made from.
	GenerationAnnotation = "kohort.dev/generation"
	// RequestAnnotation is the value of kohort.dev/requested-at that the run answers.
	RequestAnnotation = "kohort.dev/answers-request"
	// DrainAnnotation is "true" on the run that takes every member out.
	DrainAnnotation = "kohort.dev/drain"
)

const (
	// maxJobName : a Job's name becomes a label's value on its pods, which holds 63 characters.
	maxJobName = 63
	// maxSuffix holds the longest suffix of a run: "-d" and ten digits of unix seconds (until the year 2286).
	maxSuffix = 12
	// maxSync is what a Sync's name may have so that the names of its Jobs fit.
	maxSync = maxJobName - maxSuffix
)

// Warehouse is the name of a Platform's warehouse Secret and Service.
func Warehouse(platform string) string { return platform + "-warehouse" }

// Stream is the name of a Platform's stream Secret and Service.
func Stream(platform string) string { return platform + "-stream" }

// API is the name of the Secret with the token of a Platform's engine API.
func API(platform string) string { return platform + "-api" }

// Store is the name of a Platform's store StatefulSet.
func Store(platform string) string { return platform + "-store" }

// StoreClaim is the name of the claim that the store's StatefulSet makes for its one pod.
func StoreClaim(platform string) string { return "data-" + Store(platform) + "-0" }

// Engine is the name of a Platform's engine: Deployment, Service, ServiceAccount, Role and RoleBinding.
func Engine(platform string) string { return platform + "-engine" }

// Jobs is the name of the NetworkPolicy of a Platform's pullers and syncs.
func Jobs(platform string) string { return platform + "-jobs" }

// Collector is the name of an http Source's collector: Deployment, Service, autoscaler, disruption budget, policy.
func Collector(source string) string { return source + "-collector" }

// Listener is the name of the Deployment of a Source that listens.
func Listener(source string) string { return source + "-listener" }

// Sync is the name of the Sync of an Audience and a Destination.
func Sync(audience, destination string) string { return Fit(audience+"-"+destination, maxSync) }

// ScheduledRun is the name of the Job of a slot of owner's schedule.
func ScheduledRun(owner string, slot time.Time) string {
	return owner + "-" + strconv.FormatInt(slot.Unix(), 10)
}

// RequestedRun is the name of the Job that answers a value of kohort.dev/requested-at.
func RequestedRun(owner, request string) string { return owner + "-r" + Hash(request)[:8] }

// ChangedRun is the name of the Job that a change of the spec leads to; what tells this change from every other.
func ChangedRun(owner, what string) string { return owner + "-c" + Hash(what)[:8] }

// DrainRun is the name of the Job that takes the members out before owner goes, tried at slot.
func DrainRun(owner string, slot time.Time) string {
	return owner + "-d" + strconv.FormatInt(slot.Unix(), 10)
}

// Hash is the SHA-256 of a text in hexadecimal digits.
func Hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// Fit shortens a name to n characters; a shortened one ends with a hash of the whole, so that two stay two.
func Fit(name string, n int) string {
	if len(name) <= n {
		return name
	}
	const digits = 8
	return name[:n-digits-1] + "-" + Hash(name)[:digits]
}

// Labels are those of an object that serves a Platform.
func Labels(platform, component, instance string) map[string]string {
	return map[string]string{
		nameLabel:               "kohort",
		instanceLabel:           instance,
		componentLabel:          component,
		ManagedByLabel:          FieldManager,
		v1alpha1.PlatformLabel:  platform,
		v1alpha1.ComponentLabel: component,
	}
}

// With adds one label.
func With(labels map[string]string, key, value string) map[string]string {
	out := make(map[string]string, len(labels)+1)
	for k, v := range labels {
		out[k] = v
	}
	out[key] = value
	return out
}

// Selector picks the pods of one component of a Platform.
func Selector(platform, component string) map[string]string {
	return map[string]string{v1alpha1.PlatformLabel: platform, v1alpha1.ComponentLabel: component}
}
