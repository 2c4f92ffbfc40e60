package event

import (
	"errors"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"kohort.dev/kohort/internal/stream"
)

// Unmerge asks that an identifier be cut out of its profile.
type Unmerge struct {
	Type, Value string
	// FromType and FromValue are the identifier that it is cut from, empty for all others of the profile.
	FromType, FromValue string
	Received            time.Time
}

// command takes a message apart that asks for something instead of telling what happened. It is one record by itself.
func (p *Parsed) command(m Message) {
	var found *Unmerge
	err := stream.Decode(m.Data, func(index int, r stream.Record) error {
		body := string(r.Body)
		if index > 0 || r.Kind != stream.KindUnmerge || depth(body) > MaxDepth || !gjson.Valid(body) {
			return errors.New("a message about identity is one record of a request to unmerge, in JSON")
		}
		fields := gjson.GetMany(body, "type", "value", "fromType", "fromValue")
		found = &Unmerge{
			Type: fields[0].String(), Value: fields[1].String(), FromType: fields[2].String(), FromValue: fields[3].String(),
			Received: clampTime(r.Received),
		}
		return nil
	})
	if err == nil && found != nil {
		p.Unmerge = found
		return
	}
	text := "the message about identity is empty"
	if err != nil {
		text = err.Error()
	}
	p.Rejections = append(p.Rejections, Rejection{
		Stage: StageParse, Reason: MalformedMessage, Message: text + "; send it with the engine's API",
		Original: string(m.Data), Source: strings.TrimPrefix(m.Subject, stream.SubjectPrefix),
		Received: m.Stored.UTC().Truncate(time.Millisecond), Seq: m.Seq,
	})
}

// Recall fills in what the warehouse does not keep of an event, from what it keeps: Identifiers, Traits and, without the
// account's traits, Account.
func (e *Event) Recall() {
	f := fields{kind: e.Type, userID: e.UserID, anonymousID: e.AnonymousID, context: e.Context}
	switch e.Type {
	case Identify:
		f.traits = e.Properties
	case Alias:
		f.previousID = gjson.Get(e.Properties, "previousId").String()
	case Group:
		f.groupID = gjson.Get(e.Properties, "groupId").String()
	}
	f.identified(e)
	e.Traits = nil
	f.describe(e)
}
