package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/internal/audience"
	"kohort.dev/kohort/internal/audience/membership"
	"kohort.dev/kohort/internal/profile"
)

const (
	// longestAudience is what the API server would take of an Audience, about.
	longestAudience = 1 << 20
	// previewTimeout bounds a preview, which reads as much as an evaluation does.
	previewTimeout = 2 * time.Minute
)

// preview answers POST /v1/audiences/preview, whose body is an Audience as JSON: what it would be, were it applied.
func (a *api) preview(ctx context.Context, r *http.Request) (any, error) {
	asked, err := audienceIn(r)
	if err != nil {
		return nil, err
	}
	if asked.Spec.PlatformRef.Name != a.objects.platform {
		return nil, refusal{http.StatusBadRequest, v1alpha1.ReasonInvalidSpec, fmt.Sprintf("spec.platformRef.name is %q, and this is the engine of Platform %s", asked.Spec.PlatformRef.Name, a.objects.platform)}
	}
	asked.Namespace = a.objects.namespace
	if err := a.valid(ctx, asked); err != nil {
		return nil, err
	}
	conn, err := a.store.get()
	if err != nil {
		return nil, err
	}
	select {
	case a.previews <- struct{}{}: // one at a time: evaluations come first
		defer func() { <-a.previews }()
	case <-ctx.Done():
		return nil, refusal{http.StatusServiceUnavailable, "Busy", "another preview is being computed; try again"}
	}
	return membership.PreviewOf(ctx, conn, asked, time.Now())
}

func audienceIn(r *http.Request) (*v1alpha1.Audience, error) {
	bad := func(format string, args ...any) error {
		return refusal{http.StatusBadRequest, "BadAudience", fmt.Sprintf(format, args...)}
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, longestAudience))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, bad("an Audience has at most %d bytes", longestAudience)
	case err != nil:
		return nil, bad("the body ends too early")
	}
	asked := &v1alpha1.Audience{}
	decoder := json.NewDecoder(strings.NewReader(string(body)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(asked); err != nil {
		return nil, bad("the body must be an Audience as JSON: %v", err)
	}
	if asked.Name == "" {
		return nil, bad("metadata.name is missing")
	}
	return asked, nil
}

// valid refuses an Audience that could not be evaluated.
func (a *api) valid(ctx context.Context, asked *v1alpha1.Audience) error {
	_, known, err := a.objects.audiences(ctx)
	if err != nil {
		return err
	}
	var invalid *audience.Invalid
	if err := audience.Validate(asked, known); errors.As(err, &invalid) {
		return refusal{http.StatusBadRequest, invalid.Reason, invalid.Error()}
	} else if err != nil {
		return err
	}
	return nil
}

// AudienceExplanation is the answer to GET /v1/profiles/{identifier}/audiences/{audience}.
type AudienceExplanation struct {
	ID       string `json:"id"`
	Audience string `json:"audience"`
	*membership.Explanation
}

// explainAudience answers GET /v1/profiles/{type}:{value}/audiences/{audience}: why the customer is a member, or is not.
func (a *api) explainAudience(ctx context.Context, r *http.Request) (any, error) {
	name := r.PathValue("audience")
	own, _, err := a.objects.audiences(ctx)
	if err != nil {
		return nil, err
	}
	var asked *v1alpha1.Audience
	for _, one := range own {
		if one.Name == name {
			asked = one
		}
	}
	if asked == nil {
		return nil, refusal{http.StatusNotFound, v1alpha1.ReasonAudienceNotFound, fmt.Sprintf("Platform %s has no Audience %q", a.objects.platform, name)}
	}
	if err := a.valid(ctx, asked); err != nil {
		return nil, err
	}
	var conn driver.Conn
	var known *profile.Profile
	if conn, known, err = a.read(ctx, r, profile.Want{}); err != nil {
		return nil, err
	}
	why, err := membership.Explain(ctx, conn, asked, known.Ordinal, known.ID, time.Now())
	if err != nil {
		return nil, err
	}
	return AudienceExplanation{known.ID, name, why}, nil
}
