package membership

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

// TestRollbackGivesTheMembersOfThen : whatever has happened since, also other rollbacks and merges, the members of every
// revision can be brought back, and evaluation goes on from there as if nothing had been.
func TestRollbackGivesTheMembersOfThen(t *testing.T) {
	conn := warehousetest.Open(t)
	back := 0
	rapid.Check(t, func(r *rapid.T) {
		for _, table := range []string{"traits", "profile_overrides", "memberships", "membership_log", "audience_revisions"} {
			if err := conn.Exec(t.Context(), "TRUNCATE TABLE "+table); err != nil {
				r.Fatal(err)
			}
		}
		store := New(conn)
		m := &expected{customers: map[uint64]bool{}}
		w := &world{overrides: map[uint64]uint64{}}
		then := map[uint64][]uint64{} // members by revision
		resolved := func(profiles []uint64) []uint64 {
			whole := map[uint64]bool{}
			for _, p := range profiles {
				whole[w.resolve(p)] = true
			}
			return append([]uint64{}, slices.Sorted(maps.Keys(whole))...)
		}
		at := noon
		// sound checks what is stored against itself, and gives it.
		sound := func(why string, got Result) []uint64 {
			members := append([]uint64{}, stored(t.Context(), r, conn)["payers"]...)
			if got.Size != uint64(len(members)) {
				r.Fatalf("%s: the size is %d of %d members", why, got.Size, len(members))
			}
			if diff := cmp.Diff(stored(t.Context(), r, conn), folded(t.Context(), r, conn)); diff != "" {
				r.Fatalf("%s: the log does not add up to the members (-members +log):\n%s", why, diff)
			}
			then[got.Revision] = members
			return members
		}
		rollback := func(step int) {
			to := rapid.SampledFrom(slices.Sorted(maps.Keys(then))).Draw(r, "to")
			got, err := store.Rollback(t.Context(), "payers", to, at)
			if err != nil {
				r.Fatal(err)
			}
			back++
			want, why := resolved(then[to]), fmt.Sprintf("step %d, back to %d of %d", step, to, len(then))
			_, inForce := then[got.Revision]
			members := sound(why, got)
			if inForce { // it stays as it is, so whoever was merged since is there as who they were; readers follow the merge
				members = resolved(members)
			}
			if diff := cmp.Diff(want, members); diff != "" {
				r.Fatalf("%s: members (-want +got):\n%s", why, diff)
			}
		}
		for step := range 6 {
			at = at.Add(time.Minute)
			move(r, conn, m, step)
			if chance(r, 4) {
				store = New(conn)
			}
			if chance(r, 3) { // one of those that were never merged is merged into another such
				loser, survivor := rapid.Uint64Range(1, 50).Draw(r, "loser"), rapid.Uint64Range(1, 50).Draw(r, "survivor")
				if w.resolve(loser) == loser && w.resolve(survivor) == survivor && loser != survivor && !slices.Contains(slices.Collect(maps.Values(w.overrides)), loser) {
					w.overrides[loser] = survivor
					if err := conn.Exec(t.Context(), fmt.Sprintf("INSERT INTO profile_overrides (profile, survivor, version) VALUES (%d, %d, %d)", loser, survivor, step+1)); err != nil {
						r.Fatal(err)
					}
				}
			}
			if step > 0 && (step >= 4 || chance(r, 2)) { // two at the end, when there is the most to go back over
				rollback(step)
				continue
			}
			results, err := store.Evaluate(t.Context(), compiled(t, at, payers()))
			if err != nil {
				r.Fatal(err)
			}
			sound(fmt.Sprintf("step %d", step), results["payers"])
		}
	})
	if back < 20 {
		t.Errorf("only %d rollbacks: the generator makes too few", back)
	}
}

func TestRollback(t *testing.T) {
	conn := &broken{Conn: warehousetest.Open(t)}
	store := New(conn)
	var unknown *UnknownRevisionError
	if _, err := store.Rollback(t.Context(), "buyers", 1, noon); !errors.As(err, &unknown) || unknown.Newest != 0 {
		t.Errorf("of an audience that was never evaluated: %v", err)
	}
	buy(t, conn, 1, 4)
	evaluate := func(minute int) Result {
		t.Helper()
		results, err := store.Evaluate(t.Context(), compiled(t, noon.Add(time.Duration(minute)*time.Minute), buyers()))
		if err != nil {
			t.Fatal(err)
		}
		return results["buyers"]
	}
	evaluate(0)
	buy(t, conn, 4, 6)
	evaluate(1)
	if _, err := store.Rollback(t.Context(), "buyers", 3, noon); !errors.As(err, &unknown) || *unknown != (UnknownRevisionError{3, 1, 2}) {
		t.Errorf("to a revision that is not there: %v", err)
	}
	for _, step := range []struct {
		why, broken string
		to          uint64
		want        Result
	}{
		{"a crash before the members are stored", "INSERT INTO memberships", 1, Result{Revision: 4, Size: 3}}, // 3 is what the crash left
		{"again, which changes nothing", "", 1, Result{Revision: 4, Size: 3}},
		{"to another one", "", 2, Result{Revision: 5, Size: 5, Entered: 2}},
		{"to a rollback", "", 4, Result{Revision: 6, Size: 3, Left: 2}},
	} {
		if conn.prefix = step.broken; conn.prefix != "" {
			if _, err := store.Rollback(t.Context(), "buyers", step.to, noon.Add(time.Hour)); err == nil {
				t.Fatal("it went on after a statement that failed")
			}
			conn.prefix, store = "", New(conn)
		}
		got, err := store.Rollback(t.Context(), "buyers", step.to, noon.Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(step.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.why, diff)
		}
	}
	if diff := cmp.Diff(Result{Revision: 7, Size: 5, Entered: 2}, evaluate(120)); diff != "" {
		t.Errorf("evaluated again (-want +got):\n%s", diff)
	}
	if got := text(t, conn, "SELECT toString(groupArray((revision, size))) FROM (SELECT revision, size FROM audience_revisions FINAL ORDER BY revision)"); got != "[(1,3),(2,5),(3,3),(4,3),(5,5),(6,3),(7,5)]" {
		t.Errorf("history: %s", got)
	}
}
