package event

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/tidwall/gjson"

	"kohort.dev/kohort/internal/jsonscan"
	"kohort.dev/kohort/internal/stream"
)

// Parsed collects what messages hold, in their order.
type Parsed struct {
	Events     []Event
	Rejections []Rejection
	// Unmerge is what the message asks for, which then is the only one; nil for events.
	Unmerge *Unmerge
	// Emptied are rows of quarantine that were let in and hold no event: a mapping leaves them out now.
	Emptied []*Redriven

	scanner scanner
}

// Message is one message of the stream.
type Message struct {
	Seq     uint64
	Subject string
	// Stored is when the stream took the message. It dates what is too broken to say when it was received.
	Stored time.Time
	// Data is not to be changed any more: what it holds is not copied.
	Data []byte
}

// Add takes a message apart. Whatever is in it ends as an event or as a rejection; nothing is refused as a whole but
// what is not a message of this project at all.
func (p *Parsed) Add(m Message) {
	if m.Subject == stream.IdentitySubject {
		p.command(m)
		return
	}
	err := stream.Decode(m.Data, func(index int, r stream.Record) error {
		p.record(m.Seq, index, r)
		return nil
	})
	if err == nil {
		return
	}
	p.Rejections = append(p.Rejections, Rejection{
		Stage: StageParse, Reason: MalformedMessage,
		Message:  err.Error() + "; publish through a collector or a puller of the same release",
		Original: string(m.Data), Source: strings.TrimPrefix(m.Subject, stream.SubjectPrefix),
		Received: m.Stored.UTC().Truncate(time.Millisecond), Seq: m.Seq,
	})
}

// typeOf is the type of event that an endpoint implies.
func typeOf(kind stream.Kind) string {
	switch kind {
	case stream.KindTrack:
		return Track
	case stream.KindIdentify:
		return Identify
	case stream.KindPage:
		return Page
	case stream.KindScreen:
		return Screen
	case stream.KindGroup:
		return Group
	case stream.KindAlias:
		return Alias
	}
	return ""
}

// parser is what the items of one record share.
type parser struct {
	out           *Parsed
	seq           uint64
	record        int
	source, party string
	ip            string
	received      time.Time
	kind          string // of event that the endpoint implies, or empty
	sentAt        string
	context       string // of the batch, a JSON object, or empty
	redriven      *Redriven
	rejected      int
	rest          []byte // originals of rejections beyond MaxRejections, as a list that is not closed
}

func (p *Parsed) record(seq uint64, index int, r stream.Record) {
	one := parser{
		out: p, seq: seq, record: index, source: r.Source, party: r.Party, ip: r.IP,
		received: clampTime(r.Received), kind: typeOf(r.Kind),
	}
	body := strings.TrimSpace(unsafe.String(unsafe.SliceData(r.Body), len(r.Body))) //nolint:gosec // nobody changes it
	switch {
	case r.Kind == stream.KindQuarantine:
		one.quarantined(body)
	case r.Kind == stream.KindRedrive:
		one.redrive(body)
	case r.Kind < stream.KindBatch || r.Kind > stream.KindRedrive:
		one.reject(body, MalformedMessage, fmt.Sprintf("record kind %d is unknown; bring the engine to the sender's release", r.Kind))
	case r.Kind == stream.KindBatch:
		one.batch(body)
	default:
		one.item(body, 0)
	}
}

// quarantined takes what a puller refused.
func (p *parser) quarantined(body string) {
	if depth(body) > MaxDepth+1 || !gjson.Valid(body) { // the validator recurses
		p.reject(body, InvalidJSON, "a record for quarantine is not JSON, or is nested too deep")
		return
	}
	fields := gjson.GetMany(body, "stage", "reason", "message", "original", "record")
	original := fields[3].Raw
	if fields[3].Type == gjson.String {
		original = fields[3].Str
	}
	p.out.Rejections = append(p.out.Rejections, Rejection{
		Stage: fields[0].String(), Reason: fields[1].String(), Message: fields[2].String(), Original: original,
		Source: p.source, Party: p.party, Received: p.received, Seq: p.seq, Record: fields[4].Raw,
	})
}

// redrive takes a row of quarantine again: an event, or a list of them.
func (p *parser) redrive(body string) {
	if depth(body) > MaxDepth || !gjson.Valid(body) { // the validator recurses
		p.reject(body, InvalidJSON, "a record of a redrive is not JSON, or is nested too deep")
		return
	}
	fields := gjson.GetMany(body, "id", "original")
	id, err := hex.DecodeString(fields[0].Str)
	if err != nil || len(id) != len(Redriven{}.ID) {
		p.reject(body, InvalidField, "id is that of a row of quarantine, 32 hexadecimal digits")
		return
	}
	p.redriven = &Redriven{ID: [16]byte(id), Received: p.received, Seq: p.seq}
	original := strings.TrimSpace(fields[1].Str)
	if !strings.HasPrefix(original, "[") || depth(original) > MaxDepth+1 || !gjson.Valid(original) {
		p.item(original, 0)
		return
	}
	index := 0
	gjson.Parse(original).ForEach(func(_, item gjson.Result) bool {
		p.item(item.Raw, index)
		index++
		return true
	})
	p.others()
	if index == 0 {
		p.out.Emptied = append(p.out.Emptied, p.redriven)
	}
}

// batch takes the items of a batch.
func (p *parser) batch(body string) {
	if !strings.HasPrefix(body, "{") {
		p.reject(body, InvalidJSON, "the body is not a JSON object; send {\"batch\":[…]}")
		return
	}
	sc := &p.out.scanner
	if !sc.batch(body, p.beside) {
		p.tolerant(body)
		return
	}
	if p.shares(body, len(sc.items)) {
		return
	}
	for i, item := range sc.items {
		p.members(item.raw, sc.members[item.members[0]:item.members[1]], i)
	}
	p.others()
}

// tolerant takes the items of a batch that is not JSON all through: one that is broken leaves the others as they are. Its
// walk does not descend, so its depth is no danger before the items are checked.
func (p *parser) tolerant(body string) {
	var items gjson.Result
	p.sentAt, p.context = "", ""
	gjson.Parse(body).ForEach(func(key, value gjson.Result) bool {
		if key.Str == "batch" {
			items = value
		} else {
			p.beside(key.Str, value.Raw)
		}
		return true
	})
	if !items.IsArray() {
		p.reject(body, MissingField, "batch must be a list of events")
		return
	}
	count := 0
	items.ForEach(func(_, _ gjson.Result) bool {
		count++
		return true
	})
	if p.shares(body, count) {
		return
	}
	index := 0
	items.ForEach(func(_, item gjson.Result) bool {
		p.item(item.Raw, index)
		index++
		return true
	})
	p.others()
}

// beside takes what stands beside the items of a batch.
func (p *parser) beside(key, value string) {
	switch key {
	case "sentAt":
		p.sentAt = gjson.Parse(value).Str
	case "context":
		// The validator recurses, so size and depth come first.
		if strings.HasPrefix(value, "{") && len(value) <= MaxSize && depth(value) < MaxDepth {
			p.context, _, _ = check(value) // what is no JSON is nobody's context
		}
	}
}

// shares refuses a batch whose context would become too much with count events.
func (p *parser) shares(body string, count int) (refused bool) {
	if p.context == "" || count*len(p.context) <= MaxShared*len(body) {
		return false
	}
	p.reject(body, TooLarge, fmt.Sprintf("the batch's context, repeated for each event, is more than %d times the batch; send it with the events that need it", MaxShared))
	return true
}

// others rejects together what was beyond MaxRejections.
func (p *parser) others() {
	if len(p.rest) > 0 {
		original := string(append(p.rest, ']'))
		p.add(original, TooLarge, fmt.Sprintf("more than %d events of one batch were refused; these are the others", MaxRejections))
	}
}

// item takes one event.
func (p *parser) item(raw string, index int) {
	if !utf8.ValidString(raw) {
		raw = strings.ToValidUTF8(raw, "\uFFFD") // as encoding/json and the SDKs' servers do
	}
	if p.oversized(raw) {
		return
	}
	members, odd, err := p.out.scanner.object(raw)
	if err == nil && odd {
		members, _, err = p.out.scanner.object(readable(raw))
	}
	var broken *jsonscan.Error
	switch {
	case errors.As(err, &broken) && broken.Deep:
		p.reject(raw, TooLarge, fmt.Sprintf("objects and lists are nested deeper than %d", MaxDepth))
	case err != nil:
		p.reject(raw, InvalidJSON, "the event is not a JSON object")
	default:
		p.members(raw, members, index)
	}
}

func (p *parser) oversized(raw string) bool {
	if len(raw) > MaxSize {
		p.reject(raw, TooLarge, fmt.Sprintf("the event has %d bytes; at most %d are taken", len(raw), MaxSize))
	}
	return len(raw) > MaxSize
}

// members takes one event whose JSON was taken apart.
func (p *parser) members(raw string, members []member, index int) {
	if p.oversized(raw) {
		return
	}
	f := fields{kind: p.kind}
	f.read(members)
	if p.kind != "" {
		raw = withField(raw, "type", quote(p.kind)) // so that the original can be read without its endpoint
	}
	e := Event{
		Type: f.kind, MessageID: f.messageID, UserID: f.userID, AnonymousID: f.anonymousID,
		Received: p.received, Source: p.source, Party: p.party, Seq: p.seq, Original: raw, Redriven: p.redriven,
	}
	if f.problem == nil {
		f.problem = f.complete(&e, p)
	}
	if f.problem != nil {
		p.reject(raw, f.problem.reason, f.problem.message)
		return
	}
	if f.sentAt == "" {
		e.SentAt = p.sentAt
	}
	if e.MessageID == "" {
		e.MessageID, e.Derived = deriveID(p.seq, p.record, index), true
	}
	p.out.Events = append(p.out.Events, e)
}

// check gives JSON such that everybody can read it, and whether it may not have been so.
func check(raw string) (text string, odd bool, err error) {
	s := jsonscan.Scanner{Text: unsafe.Slice(unsafe.StringData(raw), len(raw)), MaxDepth: MaxDepth} //nolint:gosec // it only reads
	if err := s.Check(); err != nil {
		return "", false, err
	}
	if s.Odd {
		return readable(raw), true, nil
	}
	return raw, false, nil
}

// reject refuses an item, or the whole record.
func (p *parser) reject(original, reason, message string) {
	if p.rejected++; p.rejected <= MaxRejections {
		p.add(original, reason, message)
		return
	}
	opening := byte(',')
	if len(p.rest) == 0 {
		opening = '['
	}
	p.rest = append(append(p.rest, opening), original...)
}

func (p *parser) add(original, reason, message string) {
	p.out.Rejections = append(p.out.Rejections, Rejection{
		Stage: StageParse, Reason: reason, Message: message, Original: original,
		Source: p.source, Party: p.party, Received: p.received, Seq: p.seq, Redriven: p.redriven,
	})
}

func deriveID(seq uint64, record, item int) string {
	b := append(make([]byte, 0, 32), "kohort-"...)
	b = append(strconv.AppendUint(b, seq, 10), '-')
	b = append(strconv.AppendInt(b, int64(record), 10), '-')
	return string(strconv.AppendInt(b, int64(item), 10))
}

// depth is how deep objects and lists are nested in JSON, valid or not. Most events have fewer brackets than the limit, and are
// not walked for it.
func depth(raw string) int {
	if n := strings.Count(raw, "{") + strings.Count(raw, "["); n <= MaxDepth {
		return n
	}
	deepest, now := 0, 0
	for i := 0; i < len(raw); i++ {
		switch raw[i] {
		case '"':
			for i++; i < len(raw) && raw[i] != '"'; i++ {
				if raw[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			now++
			deepest = max(deepest, now)
		case '}', ']':
			now--
		}
	}
	return deepest
}
