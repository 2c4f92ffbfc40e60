package engine

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/prometheus/common/model"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/internal/ingest"
	"kohort.dev/kohort/internal/trackingplan"
)

// plans are the terms that ingestion judges events by, as the Sources have them now.
type plans struct {
	logger *slog.Logger

	mu    sync.Mutex
	terms map[string]ingest.SourceTerms // nil: not read yet
}

// follow brings the terms to what the Sources ask for. The first time it begins with those of the newest stored batch,
// so that a plan that cannot be used does not undo the one that was in force when the process of before ended.
func (p *plans) follow(ctx context.Context, conn driver.Conn, sources []*v1alpha1.Source) error {
	p.mu.Lock()
	before := p.terms
	p.mu.Unlock()
	if before == nil {
		last, err := ingest.LastTerms(ctx, conn)
		if err != nil {
			return err
		}
		before = last.Sources
	}
	after, err := termsOf(sources, before)
	if err != nil {
		return err
	}
	for _, source := range sources {
		name := source.Name
		s, was := after[name], before[name]
		if was.Plan != s.Plan || was.Refusal != s.Refusal || was.Window != s.Window {
			p.logger.Info("events of a source are judged anew", "source", name, "plan", s.Plan != nil, "refusal", s.Refusal, "window", s.Window.String())
		}
	}
	p.mu.Lock()
	p.terms = after
	p.mu.Unlock()
	return nil
}

// current are the terms for the next batch.
func (p *plans) current() ingest.Terms {
	p.mu.Lock()
	defer p.mu.Unlock()
	return ingest.Terms{Sources: p.terms}
}

// termsOf gives the terms of Sources. Where a tracking plan cannot be used, the one of before stays in force, and without
// one the events wait in quarantine: what cannot be judged is not let in. What a Source had that is gone stays too, for
// its last events may still lie in the stream.
func termsOf(sources []*v1alpha1.Source, before map[string]ingest.SourceTerms) (map[string]ingest.SourceTerms, error) {
	after := maps.Clone(before)
	if after == nil {
		after = map[string]ingest.SourceTerms{}
	}
	for _, s := range sources {
		terms := ingest.SourceTerms{}
		if d := s.Spec.Deduplication; d != nil {
			window, err := model.ParseDuration(string(d.Window))
			if err != nil {
				return nil, fmt.Errorf("spec.deduplication.window of Source %s: %w", s.Name, err)
			}
			terms.Window = time.Duration(window)
		}
		if s.Spec.TrackingPlan != nil {
			terms.Plan, terms.Refusal = planOf(s.Spec.TrackingPlan, before[s.Name].Plan)
		}
		if terms == (ingest.SourceTerms{}) {
			delete(after, s.Name)
			continue
		}
		after[s.Name] = terms
	}
	return after, nil
}

// planOf compiles a plan unless it is the one of before.
func planOf(spec *v1alpha1.TrackingPlan, before *trackingplan.Plan) (plan *trackingplan.Plan, refusal string) {
	if before != nil && before.Is(spec) {
		return before, ""
	}
	plan, err := trackingplan.Compile(spec)
	switch {
	case err == nil:
		return plan, ""
	case before != nil:
		return before, ""
	default:
		return nil, "the tracking plan of the Source cannot be used: " + err.Error() + "; correct it, and let the event in by kohort redrive"
	}
}
