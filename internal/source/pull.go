package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"kohort.dev/kohort/internal/mapping"
	"kohort.dev/kohort/internal/run"
	"kohort.dev/kohort/internal/s3client"
)

// Options of a run.
type Options struct {
	Order run.PullOrder
	// DSN gives the connection string of a sql Source's database.
	DSN func() (string, error)
	// S3Keys gives the keys of a files Source's storage that speaks S3.
	S3Keys  func() (s3client.Keys, error)
	Log     Log
	Cursors *Cursors
	// HTTP fetches files. It must not unpack bodies by itself.
	HTTP *http.Client
	Now  func() time.Time
}

const (
	// While no record has become an event, faults are held back: when all fail, the mapping is wrong, and quarantine would
	// only hold a copy of the source. These bound what is held.
	maxHeld      = 1000
	maxHeldBytes = 16 << 20
	// maxRejections of a report.
	maxRejections = 10
)

// Run reads the source of an order once and publishes its events. The report is complete but for its result, also when
// the error is not nil.
func Run(ctx context.Context, options Options) (run.Report, error) {
	p := &pull{Options: options}
	err := p.run(ctx)
	return p.report(), err
}

// pull is a run under way.
type pull struct {
	Options
	mapping  *mapping.Mapping
	metadata map[string]string // of all records of the run
	out      *outlet

	read, usable, skipped int64
	note                  string
	rejected              tally
	held                  []refusal
	heldBytes             int
	released              bool // faults are not held back any more
}

func (p *pull) run(ctx context.Context) (err error) {
	if p.mapping, err = compile(p.Order.Mapping); err != nil {
		return err
	}
	if err := p.cover(); err != nil {
		return err
	}
	p.out = newOutlet(ctx, p.Log, p.Order.Source, p.Order.Party, p.Now)
	defer func() { // publishing that failed is the cause of what the readers say about their context
		if drained := p.out.drain(ctx); drained != nil && (err == nil || errors.Is(err, context.Canceled)) {
			err = drained
		}
	}()
	switch {
	case p.Order.Files != nil:
		return p.files(ctx)
	case p.Order.SQL != nil:
		return p.sql(ctx)
	default:
		return run.Refuse(reasonRunFailed, "the order names neither files nor sql")
	}
}

// cover puts the interval that the run covers into what is read, and shows it to the mapping.
func (p *pull) cover() error {
	if p.Order.Interval == nil {
		return nil
	}
	i := *p.Order.Interval
	p.metadata = map[string]string{"from": i.From.UTC().Format(time.RFC3339), "to": i.To.UTC().Format(time.RFC3339)}
	var err error
	if p.Order.Files != nil {
		files := *p.Order.Files
		if files.URL, err = i.Fill(files.URL); err != nil {
			return run.Refuse(reasonInvalidSpec, "spec.files.url: %w", err)
		}
		p.Order.Files = &files
	}
	if p.Order.SQL != nil {
		query := *p.Order.SQL
		if query.Query, err = i.Fill(query.Query); err != nil {
			return run.Refuse(reasonInvalidSpec, "spec.sql.query: %w", err)
		}
		p.Order.SQL = &query
	}
	return nil
}

func (p *pull) report() run.Report {
	report := run.Report{Read: p.read, Rejected: p.rejected.total, Message: p.note}
	if p.out != nil {
		report.Published = p.out.published.Load()
	}
	for _, rejection := range p.rejected.reasons {
		report.Rejections = append(report.Rejections, *rejection)
	}
	slices.SortFunc(report.Rejections, func(a, b run.Rejection) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Reason, b.Reason))
	})
	report.Rejections = report.Rejections[:min(len(report.Rejections), maxRejections)]
	return report
}

// take maps one record and publishes what comes of it. where names the file or query for people.
func (p *pull) take(where string) taker {
	return func(ctx context.Context, r record) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		p.read++
		where := fmt.Sprintf("%s, record %d", where, r.Number)
		if r.fault != nil {
			return p.refuse(where, *r.fault, r.raw, nil)
		}
		if r.Metadata == nil {
			r.Metadata = p.metadata
		}
		var refused []mapping.Fault
		events := 0
		fault, err := p.mapping.Events(r.Record, r.raw, r.value, func(index int, body []byte, fault *mapping.Fault) error {
			events++
			if fault != nil {
				refused, r.Refused = append(refused, *fault), append(r.Refused, index)
				return nil //nolint:nilerr // it is the record's, and the run goes on
			}
			p.usable++
			if err := p.release(); err != nil {
				return err
			}
			return p.out.event(body)
		})
		switch {
		case err != nil:
			return err
		case fault != nil:
			return p.refuse(where, *fault, r.raw, &r.Record)
		case len(refused) > 0:
			// One row for all of them: they are mapped again together.
			if len(refused) > 1 {
				refused[0].Message += fmt.Sprintf("; %d more events of it were refused", len(refused)-1)
			}
			if len(refused) == events {
				r.Refused = nil
			}
			return p.refuse(where, refused[0], r.raw, &r.Record)
		case events == 0:
			p.skipped++
		}
		return nil
	}
}

// refuse sends what cannot be used to quarantine. about is what mapping it again takes; nil when that cannot be done.
func (p *pull) refuse(where string, f mapping.Fault, original string, about *mapping.Record) error {
	p.rejected.add(where, f.Reason, f.Message)
	f.Message = where + ": " + f.Message
	refused := refusal{Stage: f.Stage, Reason: f.Reason, Message: f.Message, Original: original, Record: about}
	if p.released {
		return p.out.quarantine(refused)
	}
	p.held = append(p.held, refused)
	if p.heldBytes += len(original); len(p.held) >= maxHeld || p.heldBytes >= maxHeldBytes {
		return p.release()
	}
	return nil
}

// release sends what was held back.
func (p *pull) release() error {
	if p.released {
		return nil
	}
	p.released = true
	for _, h := range p.held {
		if err := p.out.quarantine(h); err != nil {
			return err
		}
	}
	p.held = nil
	return nil
}

// hopeless says that records were read and none could be used: then a person has to change something, and nothing counts
// as read.
func (p *pull) hopeless() bool {
	return p.usable == 0 && p.skipped == 0 && p.rejected.total > 0
}

func (p *pull) refuseAll() error {
	return run.Refuse(reasonMappingInvalid, "none of %d records became an event; the first: %s. Correct spec.mapping (or the format); then everything is read again",
		p.read, p.rejected.first)
}

// settle returns when everything that was taken is acknowledged.
func (p *pull) settle(ctx context.Context) error {
	if err := p.release(); err != nil {
		return err
	}
	return p.out.drain(ctx)
}
