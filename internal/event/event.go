package event

import "time"

// Types of events, as the wire names them.
const (
	Track    = "track"
	Identify = "identify"
	Page     = "page"
	Screen   = "screen"
	Group    = "group"
	Alias    = "alias"
)

// Names of the events that do not name themselves. A track event's name is its field event.
const (
	NameIdentify = "Identify"
	NamePage     = "Page Viewed"
	NameScreen   = "Screen Viewed"
	NameGroup    = "Group"
	NameAlias    = "Alias"
)

// Types of identifiers that an event has fields for. All others come from traits and context.externalIds.
const (
	UserID      = "userId"
	AnonymousID = "anonymousId"
)

// Limits of what is taken in. The first three are Segment's; the others keep one event from costing others dearly.
const (
	// MaxSize of one event in bytes.
	MaxSize = 32 << 10
	// MaxMessageID is the length of a messageId in bytes.
	MaxMessageID = 100
	// MaxTraits of one event.
	MaxTraits = 300
	// MaxID is the length of an identifier in bytes.
	MaxID = 500
	// MaxName is the length of an event's name in characters.
	MaxName = 256
	// MaxTraitName is the length of a trait's name in bytes.
	MaxTraitName = 200
	// MaxDepth of nested objects and lists in one event.
	MaxDepth = 64
	// MaxShared is how many times its own size the context of a batch may add to the batch's events: a hundred
	// small events with a context of some kilobytes pass, and 8 MB do not become gigabytes.
	MaxShared = 32
	// MaxRejections of one batch that are told apart; what else is refused in it is kept together.
	MaxRejections = 100
)

// Event is one thing that a customer did, or that became known of one. Its strings point into the message it came in.
type Event struct {
	Type string
	Name string
	// MessageID is the sender's, or made of the place in the stream when the sender gave none.
	MessageID string
	// Derived tells that the MessageID was made here: it cannot occur twice.
	Derived     bool
	UserID      string
	AnonymousID string
	// Occurred is when it happened by the receiver's clock, Received when it arrived. UTC, milliseconds.
	Occurred, Received time.Time
	Source, Party      string
	// Properties and Context are JSON objects, at least {}.
	Properties, Context string
	// Identifiers in the fields for them: userId, anonymousId, previousId, context.externalIds. Those among the traits
	// are for whoever knows which traits identify.
	Identifiers []Identifier
	// Traits of the customer, from traits and context.traits. Of two with one name the last counts.
	Traits []Trait
	// Account is what a group event says of a company, a household or another group; nil for all other events.
	Account *Account
	// Seq is the place of the message in the stream.
	Seq uint64
	// Original is the JSON of the event as it arrived.
	Original string
	// SentAt of the batch that it came in, when it has none of its own; Context may have parts of the batch too.
	SentAt string
	// Violations of the Source's tracking plan, from whoever judges it.
	Violations []Violation
	// Redriven is the row of quarantine that it was; nil for all that come from a sender.
	Redriven *Redriven
}

// Redriven is a row of quarantine that is let in again.
type Redriven struct {
	ID       [16]byte
	Received time.Time
	Seq      uint64 // of the message that brought it again
}

// Violation is one way in which an event breaks a tracking plan.
type Violation struct {
	// Field is a JSON pointer into properties, or the traits of identify and group; empty for the event as a whole.
	Field string
	// Rule is the keyword of JSON Schema, or unplanned.
	Rule string
	// Message says what is wrong, without values.
	Message string
	// Action taken: Allow, OmitField, Quarantine or Drop.
	Action string
}

// Identifier is something that a customer is known by.
type Identifier struct {
	Type, Value string
	// Else is the type that the value has when no customer is known by Type and Value; empty in most. It is there for
	// an alias's previousId, which may be a userId or an anonymousId.
	Else string
}

// Trait is something known of a customer. Value is JSON; null deletes the trait.
type Trait struct {
	Name, Value string
}

// Account is a group that the customer belongs to, and what became known of it.
type Account struct {
	ID string
	// Traits of the account, not of the customer. Of two with one name the last counts.
	Traits []Trait
}

// Stages at which an event is refused.
const (
	StageParse    = "parse"
	StagePlan     = "plan"
	StageIdentity = "identity"
)

// Reasons of rejections.
const (
	MalformedMessage = "MalformedMessage" // not a message of this project
	InvalidJSON      = "InvalidJSON"
	InvalidField     = "InvalidField" // a field of the wrong type
	InvalidTimestamp = "InvalidTimestamp"
	MissingField     = "MissingField"
	UnknownType      = "UnknownType"
	TooLarge         = "TooLarge" // a limit of this package
	NoIdentifier     = "NoIdentifier"
)

// Rejection is something that could not be taken in.
type Rejection struct {
	Stage, Reason string
	// Message names the field and the remedy.
	Message string
	// Original is the whole of what was refused.
	Original      string
	Source, Party string
	Received      time.Time
	Seq           uint64
	// Record is what mapping Original again takes, as JSON; empty for what never was a record of a Source, or cannot be.
	Record string
	// Redriven is the row of quarantine that it was before; nil for what comes from a sender.
	Redriven *Redriven
}

// Reject makes the rejection of an event that a later stage refuses. Its original is the event as it would have been sent
// alone, so that it can be let in again without the batch that it came in.
func (e *Event) Reject(stage, reason, message string) Rejection {
	original := withContext(e.Original, e.Context)
	if e.SentAt != "" {
		original = withField(original, "sentAt", quote(e.SentAt))
	}
	if e.Derived {
		original = withField(original, "messageId", quote(e.MessageID))
	}
	return Rejection{
		Stage: stage, Reason: reason, Message: message, Original: original,
		Source: e.Source, Party: e.Party, Received: e.Received, Seq: e.Seq, Redriven: e.Redriven,
	}
}
