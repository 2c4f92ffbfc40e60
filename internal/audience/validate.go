package audience

import (
	"slices"
	"strings"

	"kohort.dev/kohort/api/v1alpha1"
)

// Validate says whether an Audience can be evaluated. known holds the Audiences of the namespace by name; whether it
// holds a itself does not matter. The error is an [*Invalid].
//
// An Audience whose referenced Audience is itself invalid is valid: it reads the members that the other one has.
func Validate(a *v1alpha1.Audience, known map[string]*v1alpha1.Audience) error {
	d, err := read(a)
	if err != nil {
		return err
	}
	for _, q := range d.questions {
		if q.audience == "" {
			continue
		}
		field := "spec.criteria[" + q.name + "].audience.name"
		if q.audience == a.Name {
			return invalid(field, "an audience cannot ask for its own members")
		}
		other := known[q.audience]
		if other == nil {
			return notFound(field, "there is no Audience %q in namespace %s; create it or correct the name", q.audience, a.Namespace)
		}
		if other.Spec.PlatformRef.Name != a.Spec.PlatformRef.Name {
			return invalid(field, "Audience %q belongs to Platform %q and this one to %q; both must be of one Platform", q.audience, other.Spec.PlatformRef.Name, a.Spec.PlatformRef.Name)
		}
		if path := pathTo(a.Name, other, known, nil); path != nil {
			return invalid(field, "audiences refer to each other in a circle: %s; take one reference out", strings.Join(append([]string{a.Name}, path...), " -> "))
		}
		if depth(other, known, map[string]int{}) > maxNesting {
			return invalid(field, "audiences ask for audiences more than %d deep; write the criteria out where they are needed", maxNesting)
		}
	}
	return nil
}

// maxNesting of audiences that ask for audiences. Each level is a level of the statement that computes them.
const maxNesting = 16

// depth is how many audiences stand in the longest chain of references from one on. Those in a circle, which are invalid
// and never computed, end a chain. depths remembers, so that many ways to the same audience cost no more than one.
func depth(a *v1alpha1.Audience, known map[string]*v1alpha1.Audience, depths map[string]int) int {
	if n, seen := depths[a.Name]; seen {
		return n
	}
	depths[a.Name] = 0
	longest := 0
	for _, name := range References(a) {
		if to := known[name]; to != nil {
			longest = max(longest, depth(to, known, depths))
		}
	}
	depths[a.Name] = longest + 1
	return longest + 1
}

// pathTo is the way from an audience along its references to the one named target, both ends included; nil without one.
func pathTo(target string, from *v1alpha1.Audience, known map[string]*v1alpha1.Audience, seen map[string]bool) []string {
	if from.Name == target {
		return []string{target}
	}
	if seen == nil {
		seen = map[string]bool{}
	}
	if seen[from.Name] {
		return nil
	}
	seen[from.Name] = true
	for _, name := range References(from) {
		if name == target {
			return []string{from.Name, target}
		}
		if next := known[name]; next != nil {
			if path := pathTo(target, next, known, seen); path != nil {
				return append([]string{from.Name}, path...)
			}
		}
	}
	return nil
}

// References are the names of the Audiences that criteria of a ask for, sorted.
func References(a *v1alpha1.Audience) []string {
	var names []string
	for _, c := range a.Spec.Criteria {
		if c.Audience != nil {
			names = append(names, c.Audience.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
