package audience

import (
	"fmt"

	"kohort.dev/kohort/api/v1alpha1"
)

// Invalid says why an Audience cannot be evaluated.
type Invalid struct {
	// Reason is v1alpha1.ReasonInvalidSpec, or v1alpha1.ReasonAudienceNotFound when only a referenced Audience is missing.
	Reason string
	// Field is the path of the field at fault, such as "spec.criteria[buyers].event.within".
	Field string
	// Message says what is wrong and what to write instead.
	Message string
}

// Error gives the field and the message.
func (i *Invalid) Error() string { return i.Field + ": " + i.Message }

func invalid(field, format string, args ...any) error {
	return &Invalid{Reason: v1alpha1.ReasonInvalidSpec, Field: field, Message: fmt.Sprintf(format, args...)}
}

func notFound(field, format string, args ...any) error {
	return &Invalid{Reason: v1alpha1.ReasonAudienceNotFound, Field: field, Message: fmt.Sprintf(format, args...)}
}
