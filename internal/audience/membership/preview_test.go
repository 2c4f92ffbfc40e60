package membership

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/internal/audience"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

// A preview tells what an evaluation would make, and an explanation what the rule and each of its criteria mean for one
// customer: both are compared with a reading of the rule row by row.
func TestPreviewAndExplanationEqualTheDefinition(t *testing.T) {
	conn := warehousetest.Open(t)
	compared := 0
	rapid.Check(t, func(r *rapid.T) {
		ctx := t.Context()
		reset(ctx, r, conn)
		w := &world{overrides: map[uint64]uint64{}, stored: map[string][]uint64{}}
		now := time.Date(2026, 11, 23, 12, 0, 0, 123e6, time.UTC)
		rules, known, refused := map[string]matches{}, map[string]*v1alpha1.Audience{}, 0
		w.grow(r, now)
		w.insert(ctx, r, conn)
		due := draw(r, w, known, rules, &refused)
		plan, err := audience.Compile(due, now)
		if err != nil {
			r.Fatal(err)
		}
		if _, err := New(conn).Evaluate(ctx, plan); err != nil {
			r.Fatal(err)
		}
		maps.Copy(w.stored, w.members(plan, known, rules, now))
		w.grow(r, now) // the data has moved on since
		w.insert(ctx, r, conn)
		now = now.Add(time.Hour)

		names := slices.Sorted(maps.Keys(known))
		for range 4 {
			a := known[pick(r, names)]
			holds := func(a *v1alpha1.Audience, rule matches) (out []uint64) {
				for profile := uint64(1); profile <= profiles; profile++ {
					isMember := func(of string) bool {
						return slices.ContainsFunc(w.stored[of], func(p uint64) bool { return w.resolve(p) == profile })
					}
					if w.resolve(profile) == profile && w.holds(a, rule, profile, now, isMember) {
						out = append(out, profile)
					}
				}
				return out
			}
			alone := func(c v1alpha1.Criterion) []uint64 {
				one := a.DeepCopy()
				one.Spec.Criteria = []v1alpha1.Criterion{c}
				return holds(one, func(answer func(string) bool) bool { return answer(c.Name) })
			}
			want := holds(a, rules[a.Name])
			got, err := PreviewOf(ctx, conn, a, now)
			if err != nil {
				r.Fatal(err)
			}
			compared++
			flow := distance(setOf(w.stored[a.Name]), setOf(want))
			if got.Size != uint64(len(want)) || got.Entered != flow.Entered || got.Left != flow.Left || got.Current != uint64(len(w.stored[a.Name])) {
				r.Errorf("%s would have %d of %d members, +%d -%d; want %d of %d, %+v\n%s", a.Name, got.Size, got.Current, got.Entered, got.Left, len(want), len(w.stored[a.Name]), flow, audience.Definition(a))
			}
			if len(got.Sample) != min(sampled, len(want)) || !strings.HasPrefix(got.SQL, "SELECT") {
				r.Errorf("a sample of %d from %d", len(got.Sample), len(want))
			}
			for i, c := range a.Spec.Criteria {
				if n := len(alone(c)); got.Criteria[i].Name != c.Name || got.Criteria[i].Size != nil && *got.Criteria[i].Size != uint64(n) {
					r.Errorf("criterion %s of %s holds for %+v, want %d", c.Name, a.Name, got.Criteria[i], n)
				}
			}
			profile := w.resolve(uint64(rapid.IntRange(1, profiles).Draw(r, "profile")))
			why, err := Explain(ctx, conn, a, profile, publicID(profile), now)
			if err != nil {
				r.Fatal(err)
			}
			if why.Holds != slices.Contains(want, profile) || why.Stored != slices.Contains(w.stored[a.Name], profile) || why.Stored != (why.Since != nil) {
				r.Errorf("profile %d in %s: %+v", profile, a.Name, why)
			}
			for i, c := range a.Spec.Criteria {
				if why.Criteria[i].Name != c.Name || why.Criteria[i].Holds != slices.Contains(alone(c), profile) {
					r.Errorf("criterion %s of %s for profile %d: %+v", c.Name, a.Name, profile, why.Criteria[i])
				}
			}
		}
	})
	t.Logf("compared %d", compared)
}

func setOf(list []uint64) map[uint64]bool {
	out := map[uint64]bool{}
	for _, p := range list {
		out[p] = true
	}
	return out
}
