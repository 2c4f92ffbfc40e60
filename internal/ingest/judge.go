package ingest

import (
	"cmp"
	"slices"
	"time"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/internal/event"
	"kohort.dev/kohort/internal/trackingplan"
	"kohort.dev/kohort/internal/warehouse"
)

// PlanUnusable is the reason of rejections of a Source whose tracking plan was never usable.
const PlanUnusable = "PlanUnusable"

// judged is what the tracking plans made of a batch.
type judged struct {
	away      []event.Event // in quarantine or dropped
	dropped   int
	violating int // set by violations
}

// judge holds events against the plans of their Sources. What is refused goes to quarantine, or nowhere.
//
// It comes before deduplication: what is refused was not stored, so it must not make a duplicate of a better event with
// the same id.
func judge(p *event.Parsed, terms inForce) *judged {
	j := &judged{}
	if len(terms.sources) == 0 {
		return j
	}
	kept := 0
	for i := range p.Events {
		e := &p.Events[i]
		s, known := terms.sources[e.Source]
		verdict := trackingplan.Verdict{Action: v1alpha1.ViolationAllow}
		switch {
		case known && s.Refusal != "":
			verdict = trackingplan.Verdict{Action: v1alpha1.ViolationQuarantine, Reason: PlanUnusable, Message: s.Refusal}
		case known && s.Plan != nil:
			verdict = s.Plan.Judge(e)
		}
		switch verdict.Action {
		case v1alpha1.ViolationQuarantine:
			p.Rejections = append(p.Rejections, e.Reject(event.StagePlan, verdict.Reason, verdict.Message))
			j.away = append(j.away, *e)
		case v1alpha1.ViolationDrop:
			j.dropped++
			j.away = append(j.away, *e)
		default:
			if kept != i {
				p.Events[kept] = *e
			}
			kept++
		}
	}
	p.Events = p.Events[:kept]
	return j
}

// violation is a row of the table violations.
type violation struct {
	source, party, event, field, rule, action string

	message, messageID string
	violations, events uint64
	received           time.Time
	seq                uint64
}

// mostViolations is how many rows a batch may have; what else is broken in it is counted without its field.
const mostViolations = 1000

// violations counts what the events that are stored, and those that were turned away, broke.
func (j *judged) violations(stored []event.Event) []violation {
	j.violating = 0
	type key struct{ source, party, event, field, rule, action string }
	rows := map[key]*violation{}
	add := func(e *event.Event) {
		for i, v := range e.Violations {
			k := key{e.Source, e.Party, e.Name, v.Field, v.Rule, v.Action}
			row := rows[k]
			if row == nil && len(rows) >= mostViolations {
				k.event, k.field, v.Message = "", "", "other events and fields of a batch that broke the plan in over a thousand ways"
				row = rows[k]
			}
			if row == nil {
				row = &violation{
					source: k.source, party: k.party, event: k.event, field: k.field, rule: k.rule, action: k.action,
					message: v.Message, messageID: e.MessageID,
				}
				rows[k] = row
			}
			row.violations++
			if i == 0 {
				row.events++
				j.violating++
			}
			if row.received.Before(e.Received) {
				row.received = e.Received
			}
			row.seq = max(row.seq, e.Seq)
		}
	}
	for i := range stored {
		add(&stored[i])
	}
	for i := range j.away {
		add(&j.away[i])
	}
	out := make([]violation, 0, len(rows))
	for _, row := range rows {
		out = append(out, *row)
	}
	slices.SortFunc(out, func(a, b violation) int { // a replay must insert the same block
		return cmp.Or(cmp.Compare(a.source, b.source), cmp.Compare(a.party, b.party), cmp.Compare(a.event, b.event),
			cmp.Compare(a.field, b.field), cmp.Compare(a.rule, b.rule), cmp.Compare(a.action, b.action))
	})
	return out
}

func violationRows(r []violation) table {
	text := func(name string, field func(*violation) string) warehouse.Column {
		return column(name, typeString, r, field)
	}
	number := func(name string, field func(*violation) uint64) warehouse.Column {
		return column(name, typeUInt64, r, field)
	}
	return table{"violations", true, []warehouse.Column{
		text("source", func(r *violation) string { return r.source }),
		text("party", func(r *violation) string { return r.party }),
		text("event", func(r *violation) string { return r.event }),
		text("field", func(r *violation) string { return r.field }),
		text("rule", func(r *violation) string { return r.rule }),
		text("action", func(r *violation) string { return r.action }),
		text("message", func(r *violation) string { return r.message }),
		text("message_id", func(r *violation) string { return r.messageID }),
		number("violations", func(r *violation) uint64 { return r.violations }),
		number("events", func(r *violation) uint64 { return r.events }),
		column("received", typeMillis, r, func(r *violation) time.Time { return r.received }),
		number("seq", func(r *violation) uint64 { return r.seq }),
	}}
}
