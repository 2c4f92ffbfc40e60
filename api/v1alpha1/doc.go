// Package v1alpha1 holds the kinds of the group kohort.dev: what platform teams write to run a customer data platform.
//
// Every kind lives in a namespace and refers only to objects of that namespace. Every kind reports its state by the
// conditions of conditions.go, and answers spec.suspend and the annotation kohort.dev/requested-at in the same way.
//
// +kubebuilder:object:generate=true
// +groupName=kohort.dev
package v1alpha1
