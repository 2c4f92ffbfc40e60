package trackingplan

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/internal/event"
)

// Plan is a compiled tracking plan. Any number of goroutines may use it.
type Plan struct {
	document string
	hash     string

	events              map[string]*schema // nil: the name alone is planned
	traits, groupTraits *schema
	onViolation         v1alpha1.ViolationAction
	unplanned           v1alpha1.ViolationAction
}

// Compile makes a Plan. The error is *Invalid.
func Compile(spec *v1alpha1.TrackingPlan) (*Plan, error) {
	document, err := json.Marshal(spec)
	if err != nil {
		return nil, &Invalid{"spec.trackingPlan", "", err.Error()}
	}
	if len(document) > MaxPlan {
		return nil, &Invalid{"spec.trackingPlan", "", fmt.Sprintf("the plan has %d bytes; at most %d are taken", len(document), MaxPlan)}
	}
	sum := sha256.Sum256(document)
	p := &Plan{
		document: string(document), hash: hex.EncodeToString(sum[:]), events: map[string]*schema{},
		onViolation: orAllow(spec.OnViolation), unplanned: orAllow(spec.UnplannedEvents),
	}
	for _, e := range spec.Events {
		s, err := compileAt(fmt.Sprintf("spec.trackingPlan.events[%s].schema", e.Name), e.Schema)
		if err != nil {
			return nil, err
		}
		p.events[e.Name] = s
	}
	if p.traits, err = compileAt("spec.trackingPlan.traits", spec.Traits); err != nil {
		return nil, err
	}
	if p.groupTraits, err = compileAt("spec.trackingPlan.groupTraits", spec.GroupTraits); err != nil {
		return nil, err
	}
	return p, nil
}

// Is says whether a plan was compiled of a spec.
func (p *Plan) Is(spec *v1alpha1.TrackingPlan) bool {
	document, err := json.Marshal(spec)
	return err == nil && string(document) == p.document
}

// Read makes a Plan of the document that an earlier one gave.
func Read(document string) (*Plan, error) {
	var spec v1alpha1.TrackingPlan
	if err := json.Unmarshal([]byte(document), &spec); err != nil {
		return nil, fmt.Errorf("reading a tracking plan: %w", err)
	}
	return Compile(&spec)
}

func compileAt(field string, raw *apiextensionsv1.JSON) (*schema, error) {
	if raw == nil {
		return nil, nil
	}
	return compileSchema(field, raw.Raw)
}

func orAllow(a v1alpha1.ViolationAction) v1alpha1.ViolationAction {
	if a == "" {
		return v1alpha1.ViolationAllow
	}
	return a
}

// Document is the plan as it can be kept and read again.
func (p *Plan) Document() string { return p.document }

// Hash names the plan: two with one hash are the same.
func (p *Plan) Hash() string { return p.hash }

// schemaOf gives the schema for an event, nil when it has none, and whether the event is planned.
func (p *Plan) schemaOf(e *event.Event) (s *schema, planned bool) {
	switch e.Type {
	case event.Track:
		s, planned = p.events[e.Name]
		return s, planned
	case event.Page, event.Screen:
		return p.events[e.Name], true
	case event.Identify:
		return p.traits, true
	case event.Group:
		return p.groupTraits, true
	default:
		return nil, true
	}
}
