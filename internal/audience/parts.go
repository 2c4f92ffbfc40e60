package audience

import (
	"kohort.dev/kohort/api/v1alpha1"
)

// Apart gives each criterion of an Audience as one of its own, by the criterion's name, where it can stand alone: one that
// says only what a customer is not cannot.
func Apart(a *v1alpha1.Audience) []*v1alpha1.Audience {
	var out []*v1alpha1.Audience
	for _, c := range a.Spec.Criteria {
		one := part(a, c)
		if _, err := read(one); err == nil {
			out = append(out, one)
		}
	}
	return out
}

// ApartFor gives each criterion as an Audience that one profile, by its public id, is a member of exactly when the
// criterion holds for it, whatever the criterion says.
func ApartFor(a *v1alpha1.Audience, id string) []*v1alpha1.Audience {
	// Names of criteria are words, so none is this one.
	this := v1alpha1.Criterion{Name: "_", Members: &v1alpha1.MembersCriterion{IDs: []string{id}}}
	var out []*v1alpha1.Audience
	for _, c := range a.Spec.Criteria {
		one := part(a, c)
		one.Spec.Criteria = append(one.Spec.Criteria, this)
		out = append(out, one)
	}
	return out
}

// part is an Audience of one criterion. Its name is not one that an Audience can have.
func part(a *v1alpha1.Audience, c v1alpha1.Criterion) *v1alpha1.Audience {
	if c.Sample != nil && c.Sample.Salt == "" { // the salt is the Audience's name unless it is said
		sample := *c.Sample
		sample.Salt = a.Name
		c.Sample = &sample
	}
	out := &v1alpha1.Audience{}
	out.Name, out.Namespace, out.Spec.PlatformRef = PartName(a.Name, c.Name), a.Namespace, a.Spec.PlatformRef
	out.Spec.Criteria = []v1alpha1.Criterion{c}
	return out
}

// PartName is the name of the part of an Audience that is one criterion.
func PartName(audience, criterion string) string { return audience + "/" + criterion }
