// Package e2e tests Kohort in a real cluster: real pods, Jobs and volumes, seen through kubectl as a person sees them.
//
// The tests need the build tag e2e, a cluster with Kohort installed (KUBECONFIG), and the images of the demo's world
// (KOHORT_DEMO_IMAGE, KOHORT_POSTGRES_IMAGE); "make e2e" brings all of it. Each test works in a namespace of its own and
// deletes it. Data sets are read from KOHORT_DATA, or from ../shared/data beside the repository.
package e2e
