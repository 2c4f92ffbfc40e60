package sync

import "fmt"

// Hold says why nobody may be added to the Destination: who must not be there is not known. Empty when it is. A run takes
// out who has to go nevertheless.
func Hold(f Facts) string {
	if f.Destination == nil {
		return ""
	}
	for i, ref := range f.Destination.Spec.Suppress {
		field := fmt.Sprintf("spec.suppress[%s] of Destination %s", ref.Name, f.Destination.Name)
		switch other := f.Suppress[i]; {
		case other == nil:
			return fmt.Sprintf("%s: there is no Audience %s in this namespace, so nobody is added; create it, or take it out of the list", field, ref.Name)
		case other.Spec.PlatformRef != f.Destination.Spec.PlatformRef:
			return fmt.Sprintf("%s: Audience %s belongs to Platform %s, so nobody is added; both must be of one Platform", field, ref.Name, other.Spec.PlatformRef.Name)
		case other.Status.EvaluatedGeneration == nil || *other.Status.EvaluatedGeneration != other.Generation:
			return fmt.Sprintf("%s: the engine has not evaluated generation %d of Audience %s yet, so nobody is added; see its condition Evaluated", field, other.Generation, ref.Name)
		}
	}
	return ""
}
