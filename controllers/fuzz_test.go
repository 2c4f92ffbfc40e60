package controllers

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/randfill"
	"sigs.k8s.io/yaml"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/internal/apply"
	"kohort.dev/kohort/controllers/internal/naming"
	"kohort.dev/kohort/controllers/internal/secrets"
	"kohort.dev/kohort/controllers/internal/status"
	"kohort.dev/kohort/controllers/internal/workload"
)

// FuzzReconcile gives every reconciler objects that no schema has checked: with parts missing that must be there, with
// each other's names, and with statuses that nobody would write. Whatever it makes of them, it must not panic: one
// object that does would stop the operator for all others.
func FuzzReconcile(f *testing.F) {
	for seed := range uint64(40) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		world := newWorld(seed)
		c := fake.NewClientBuilder().WithScheme(newScheme()).WithObjects(world.objects()...).
			WithStatusSubresource(&v1alpha1.Platform{}, &v1alpha1.Source{}, &v1alpha1.Audience{}, &v1alpha1.Destination{}, &v1alpha1.Sync{}, &v1alpha1.RetentionPolicy{})
		indexed := &fakeIndexer{c}
		if err := index(t.Context(), indexed); err != nil {
			t.Fatal(err)
		}
		built := c.Build()
		writer := status.NewWriter(built, events.NewFakeRecorder(1000), ownFields)
		applier, keeper := apply.New(built, built), secrets.New(built, built, bytes.NewReader(make([]byte, 1<<16)))
		b := func() *base {
			return &base{client: built, live: built, applier: applier, status: writer, secrets: keeper,
				images: workload.Images{Kohort: "k", Connector: "c", Store: "s"}, now: time.Now, uids: map[types.NamespacedName]types.UID{}}
		}
		for range 2 { // what the first pass made is there in the second
			for _, r := range []reconciler{&platformReconciler{b()}, &sourceReconciler{b()}, &audienceReconciler{b()},
				&destinationReconciler{b()}, &syncReconciler{base: b()}, &retentionPolicyReconciler{b()}} {
				for _, name := range names {
					// Errors are fine: the fake API server refuses much of this.
					_, _ = r.Reconcile(t.Context(), ctrl.Request{NamespacedName: types.NamespacedName{Namespace: "n", Name: name}})
				}
			}
		}
	})
}

// fakeIndexer gives the fake client the same indexes.
type fakeIndexer struct{ builder *fake.ClientBuilder }

func (i *fakeIndexer) IndexField(_ context.Context, obj client.Object, field string, value client.IndexerFunc) error {
	i.builder.WithIndex(obj, field, value)
	return nil
}

// names are few, so that objects refer to each other.
var names = []string{"a", "b", "a-b"}

// world makes random objects.
type world struct {
	filler *randfill.Filler
	random *rand.Rand
}

func newWorld(seed uint64) *world {
	r := rand.New(rand.NewPCG(seed, 1))
	w := &world{random: r}
	w.filler = randfill.NewWithSeed(int64(seed)).NilChance(0.3).NumElements(0, 3).MaxDepth(14).Funcs(
		func(v *string, _ randfill.Continue) {
			*v = w.pick("", "a", "b", "a-b", "15m", "1m x", "0 6 * * *", "é\x00", strings.Repeat("x", 300))
		},
		func(v *v1alpha1.LocalReference, _ randfill.Continue) { v.Name = w.pick(names...) },
		func(v *v1alpha1.Schedule, _ randfill.Continue) {
			*v = v1alpha1.Schedule(w.pick("", "15m", "5s", "0 6 * * *", "* * 31 2 *", "x"))
		},
		func(v *v1alpha1.Duration, _ randfill.Continue) {
			*v = v1alpha1.Duration(w.pick("", "90d", "0s", "-1h", "x"))
		},
		func(v *metav1.Time, _ randfill.Continue) { v.Time = time.Unix(r.Int64N(4e9), 0).UTC() },
		func(v *metav1.ConditionStatus, _ randfill.Continue) {
			*v = metav1.ConditionStatus(w.pick("True", "False", "Unknown", ""))
		},
		func(v *metav1.Condition, c randfill.Continue) {
			c.FillNoCustom(v)
			v.Type = w.pick("Ready", "Stalled", "Evaluated", "Enforced", "StoreAvailable", "LastRunSucceeded", "Synced")
		},
		func(v *batchv1.JobCondition, c randfill.Continue) {
			c.FillNoCustom(v)
			v.Type, v.Status = batchv1.JobConditionType(w.pick("Complete", "Failed", "")), corev1.ConditionStatus(w.pick("True", "False"))
		},
		func(v *corev1.ContainerStateTerminated, _ randfill.Continue) {
			v.ExitCode, v.Message = r.Int32N(3), w.pick("", "{", `{"result":"Failed","reason":"x"}`, `{"result":"Succeeded","members":-1}`, "null", "[]")
		},
	)
	return w
}

func (w *world) pick(choices ...string) string { return choices[w.random.IntN(len(choices))] }

func (w *world) objects() []client.Object {
	var out []client.Object
	for _, name := range names {
		for _, make := range []func() client.Object{
			func() client.Object { return &v1alpha1.Platform{} }, func() client.Object { return &v1alpha1.Source{} },
			func() client.Object { return &v1alpha1.Audience{} }, func() client.Object { return &v1alpha1.Destination{} },
			func() client.Object { return &v1alpha1.Sync{} }, func() client.Object { return &v1alpha1.RetentionPolicy{} },
		} {
			obj := make()
			w.filler.Fill(obj)
			w.identify(obj, name)
			w.mend(obj)
			out = append(out, obj)
		}
		store, engine, collector, job, pod := &appsv1.StatefulSet{}, &appsv1.Deployment{}, &appsv1.Deployment{}, &batchv1.Job{}, &corev1.Pod{}
		w.filler.Fill(&store.Status)
		w.filler.Fill(&engine.Status)
		w.filler.Fill(&collector.Status)
		w.filler.Fill(&job.Status)
		w.filler.Fill(&pod.Status)
		for _, child := range []client.Object{store, engine, collector, job, pod} {
			childName := map[client.Object]string{store: naming.Store(name), engine: naming.Engine(name), collector: naming.Collector(name), job: "job-" + name, pod: "pod-" + name}[child]
			child.SetNamespace("n")
			child.SetName(childName)
			child.SetUID(types.UID("child-" + childName))
			component := w.pick(naming.ComponentStore, naming.ComponentCollector, naming.ComponentPuller, naming.ComponentPuller, naming.ComponentSync, naming.ComponentSync)
			owner := map[string]string{naming.ComponentStore: "Platform", naming.ComponentSync: "Sync"}[component]
			w.own(child, cmp.Or(owner, "Source"), name)
			if child == client.Object(pod) && w.random.IntN(5) > 0 {
				w.own(child, "", "child-job-"+name)
				component = job.Labels[v1alpha1.ComponentLabel]
			}
			child.SetLabels(map[string]string{
				v1alpha1.ComponentLabel: component, v1alpha1.PlatformLabel: name, v1alpha1.SourceLabel: name, v1alpha1.SyncLabel: name,
			})
			child.SetAnnotations(map[string]string{naming.SlotAnnotation: w.pick("", "x", "2026-11-23T12:00:00Z"), naming.GenerationAnnotation: w.pick("", "x", "1"), naming.DrainAnnotation: w.pick("", "true")})
			out = append(out, child)
		}
	}
	slices.SortFunc(out, func(a, b client.Object) int {
		return strings.Compare(fmt.Sprintf("%T", a)+a.GetName(), fmt.Sprintf("%T", b)+b.GetName())
	})
	return out
}

// own gives a child its owner, or at times a stranger.
func (w *world) own(child client.Object, kind, name string) {
	child.SetOwnerReferences([]metav1.OwnerReference{{
		APIVersion: "x/v1", Kind: "X", Name: name, UID: types.UID(w.pick(kind+name, kind+name, kind+name, "stranger")), Controller: ptr(w.random.IntN(9) > 0)}})
}

// mend makes most objects right in the main, so that passes get past the first look; what is left random is enough.
func (w *world) mend(obj client.Object) {
	if w.random.IntN(4) == 0 {
		return
	}
	kind := strings.TrimPrefix(fmt.Sprintf("%T", obj), "*v1alpha1.")
	specs := []string{plainSpecs[kind]}
	if kind == "Source" {
		specs = append(specs, `{platformRef: {name: p}, mapping: m, files: {url: "https://h.test", format: CSV}}`,
			`{platformRef: {name: p}, mapping: m, schedule: 15m, sql: {driver: postgres, dsnSecretRef: {name: s, key: k}, query: q}}`)
	}
	if kind == "Audience" {
		specs = append(specs, `{platformRef: {name: p}, criteria: [{name: x, audience: {name: b}}], destinations: [{name: a}, {name: b, schedule: 1h}]}`,
			`{platformRef: {name: p}, criteria: [{name: x, event: {name: E}}], destinations: [{name: a}, {name: b, schedule: 1h}]}`)
	}
	text := strings.NewReplacer("{name: p}", "{name: a}", "{name: d}", "{name: "+w.pick("a", "b")+"}").Replace(specs[w.random.IntN(len(specs))])
	reflect.ValueOf(obj).Elem().FieldByName("Spec").SetZero() // decoding goes into what is there
	if err := yaml.Unmarshal([]byte("spec: "+text), obj); err != nil {
		panic(err)
	}
	switch o := obj.(type) {
	case *v1alpha1.Audience:
		o.Status.EvaluatedGeneration = &o.Generation
	case *v1alpha1.Source:
		o.Spec.Suspend = w.random.IntN(4) == 0
	case *v1alpha1.Sync:
		o.Spec.DeletionPolicy, o.Spec.Suspend = v1alpha1.DeletionPolicy(w.pick("Remove", "Remove", "Retain")), w.random.IntN(4) == 0
	case *v1alpha1.Platform:
		o.DeletionTimestamp, o.Finalizers = nil, nil
		o.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionStoreAvailable, Status: "True"}}
	}
}

// identify gives an object what the API server would: a name, a UID, and no deletion without a finalizer.
func (w *world) identify(obj client.Object, name string) {
	deleted := obj.GetDeletionTimestamp()
	clean := metav1.ObjectMeta{Namespace: "n", Name: name, UID: types.UID(strings.TrimPrefix(fmt.Sprintf("%T", obj), "*v1alpha1.") + name), Generation: w.random.Int64N(3), CreationTimestamp: obj.GetCreationTimestamp(),
		Annotations: map[string]string{v1alpha1.RequestedAtAnnotation: w.pick("", "now", strings.Repeat("é", 200))}}
	obj.SetNamespace(clean.Namespace)
	obj.SetName(clean.Name)
	obj.SetGenerateName("")
	obj.SetUID(clean.UID)
	obj.SetResourceVersion("")
	obj.SetManagedFields(nil)
	obj.SetOwnerReferences(nil)
	obj.SetLabels(nil)
	obj.SetAnnotations(clean.Annotations)
	obj.SetGeneration(clean.Generation)
	obj.SetDeletionTimestamp(nil)
	obj.SetDeletionGracePeriodSeconds(nil)
	obj.SetFinalizers(nil)
	if deleted != nil && w.random.IntN(4) == 0 {
		obj.SetDeletionTimestamp(deleted)
		obj.SetFinalizers([]string{w.pick(audienceFinalizer, syncFinalizer, "other/finalizer")})
	}
}
