package controllers

import (
	"context"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	batchv1ac "k8s.io/client-go/applyconfigurations/batch/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kohort.dev/kohort/controllers/internal/runs"
	"kohort.dev/kohort/internal/run"
)

// records reads the runs of an owner, newest first. remembered is the one that its status shows: when that was running
// and the cache has no Job for it, the API server is asked whether the cache is late or the Job was deleted.
func (b *base) records(ctx context.Context, owner client.Object, key string, remembered *runs.Record, describe func(run.Report) string) ([]runs.Record, error) {
	jobs, err := b.jobs(ctx, owner.GetNamespace(), key)
	if err != nil {
		return nil, fmt.Errorf("listing the runs of %s: %w", owner.GetName(), err)
	}
	pods, err := b.pods(ctx, owner.GetNamespace(), key)
	if err != nil {
		return nil, fmt.Errorf("listing the pods of %s: %w", owner.GetName(), err)
	}
	if remembered != nil && remembered.Run.Finished == nil && !has(jobs, remembered.Run.Name) {
		job := &batchv1.Job{}
		err := b.live.Get(ctx, types.NamespacedName{Namespace: owner.GetNamespace(), Name: remembered.Run.Name}, job)
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("reading the run %s: %w", remembered.Run.Name, err)
		}
		if !apierrors.IsNotFound(err) {
			jobs = append(jobs, *job)
		}
	}
	out := make([]runs.Record, 0, len(jobs))
	for i := range jobs {
		if metav1.IsControlledBy(&jobs[i], owner) {
			out = append(out, runs.Observe(&jobs[i], pods, describe, b.now()))
		}
	}
	runs.Sort(out)
	return out, nil
}

func has(jobs []batchv1.Job, name string) bool {
	for i := range jobs {
		if jobs[i].Name == name {
			return true
		}
	}
	return false
}

// start makes the Job of a run and gives its record. One of ours that is there already is taken for it: either the cache
// has not seen it yet, or it is an old one, when a person asks with a value that was used before.
func (b *base) start(ctx context.Context, owner client.Object, configuration *batchv1ac.JobApplyConfiguration, r runs.Record) (*runs.Record, error) {
	made, err := b.applier.CreateOnce(ctx, owner, configuration)
	if err != nil || made {
		return &r, err
	}
	job := &batchv1.Job{}
	if err := b.live.Get(ctx, types.NamespacedName{Namespace: owner.GetNamespace(), Name: r.Run.Name}, job); err != nil {
		return nil, fmt.Errorf("reading the run %s: %w", r.Run.Name, err)
	}
	if runs.Ended(job) {
		r.Active = false
	}
	return &r, nil
}

// prune deletes the finished Jobs that nobody needs any more.
func (b *base) prune(ctx context.Context, owner client.Object, records []runs.Record) error {
	for _, name := range runs.Outdated(records) {
		if err := b.removeJob(ctx, owner, name, metav1.DeletePropagationBackground); err != nil {
			return err
		}
	}
	return nil
}

func (b *base) removeJob(ctx context.Context, owner client.Object, name string, how metav1.DeletionPropagation) error {
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: owner.GetNamespace(), Name: name}}
	return b.applier.Remove(ctx, owner, job, client.PropagationPolicy(how))
}

// settle is the soonest that a record asks for another look.
func settle(records []runs.Record) time.Duration {
	var soonest time.Duration
	for _, r := range records {
		if r.Settle > 0 && (soonest == 0 || r.Settle < soonest) {
			soonest = r.Settle
		}
	}
	return soonest
}

// until is the wait for a moment, with a second's margin so that the pass finds it past; 0 for none.
func until(moment, now time.Time) time.Duration {
	if moment.IsZero() {
		return 0
	}
	return max(moment.Sub(now), 0) + time.Second
}

// timeOf is a moment as a status has it; nil for none.
func timeOf(moment time.Time) *metav1.Time {
	if moment.IsZero() {
		return nil
	}
	return &metav1.Time{Time: moment}
}

// terminating says that an object could not be made because its namespace is being deleted.
func terminating(err error) bool {
	return apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
}
