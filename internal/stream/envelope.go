// Package stream is the log between those who take events in and the engine: what a message of it holds, how it is
// published so that an acknowledgement means disk, and how it is read in order.
package stream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Names in JetStream. One stream per Platform; a subject per Source keeps who sent what apart.
const (
	// Name of the JetStream stream that holds events.
	Name = "EVENTS"
	// SubjectPrefix of the subjects that the stream captures; the Source's name follows.
	SubjectPrefix = "events."
	// IdentitySubject is where requests about who is who are published: a message of it has one record, and is
	// ingested by itself. No Source is called so, for its name cannot have a line below.
	IdentitySubject = SubjectPrefix + "_identity"
	// MaxMessage is the largest payload of one message in bytes, the server's max_payload.
	MaxMessage = 8 << 20
)

// Subject is where the events of a Source are published.
func Subject(source string) string { return SubjectPrefix + source }

// Kind says what the body of a record is.
type Kind uint8

// Kinds of records.
const (
	// KindBatch : {"batch":[event, …], "context":{}, "integrations":{}, "sentAt":""} as Segment's /v1/batch takes it.
	KindBatch Kind = iota + 1
	// KindEvent : one event that names its own type.
	KindEvent
	// KindTrack and those below: one event whose type the endpoint gave.
	KindTrack
	KindIdentify
	KindPage
	KindScreen
	KindGroup
	KindAlias
	// KindQuarantine : a record that a puller could not use. The body is {"stage","reason","message","original"}, and "record"
	// when it can be mapped again, which is a mapping.Record.
	KindQuarantine
	// KindRedrive : one row of quarantine that is let in again. The body is {"id","original"}, where original is the text of
	// an event or of a list of them; received and party are those of the row.
	KindRedrive
	// KindUnmerge : an identifier that is cut out of its profile. The body is {"type","value","fromType","fromValue"}, the
	// last two empty when it is cut from all others. Only [IdentitySubject] has it.
	KindUnmerge
)

// Record is one request as it was acknowledged: the raw body, and what only the receiver knew.
type Record struct {
	Kind     Kind
	Received time.Time // UTC, microseconds
	Source   string
	Party    string // First, Second or Third
	IP       string // of the client; empty when not to be kept
	Body     []byte // JSON as it came
}

// A message is the version byte and then, for each record: kind (1 byte), received (8 bytes, Unix microseconds, big
// endian), and source, party, ip and body, each with its length before it as a uvarint.
const version = 1

// ErrMalformed says that a message is not of this package's format.
var ErrMalformed = errors.New("malformed stream message")

// Append adds a record to a message; start with an empty one.
func Append(message []byte, r Record) []byte {
	if len(message) == 0 {
		message = append(message, version)
	}
	message = append(message, byte(r.Kind))
	message = binary.BigEndian.AppendUint64(message, uint64(r.Received.UnixMicro()))
	for _, text := range []string{r.Source, r.Party, r.IP} {
		message = binary.AppendUvarint(message, uint64(len(text)))
		message = append(message, text...)
	}
	message = binary.AppendUvarint(message, uint64(len(r.Body)))
	return append(message, r.Body...)
}

// Decode calls yield for each record of a message, in order, until yield returns an error. Bodies point into message.
func Decode(message []byte, yield func(index int, r Record) error) error {
	if len(message) == 0 || message[0] != version {
		return fmt.Errorf("%w: unknown version", ErrMalformed)
	}
	rest := message[1:]
	for index := 0; len(rest) > 0; index++ {
		if len(rest) < 9 {
			return fmt.Errorf("%w: record %d is cut off", ErrMalformed, index)
		}
		r := Record{Kind: Kind(rest[0]), Received: time.UnixMicro(int64(binary.BigEndian.Uint64(rest[1:9]))).UTC()}
		rest = rest[9:]
		var fields [4][]byte
		for i := range fields {
			size, n := binary.Uvarint(rest)
			if n <= 0 || size > uint64(len(rest)-n) {
				return fmt.Errorf("%w: record %d is cut off", ErrMalformed, index)
			}
			fields[i] = rest[n : n+int(size) : n+int(size)]
			rest = rest[n+int(size):]
		}
		r.Source, r.Party, r.IP, r.Body = string(fields[0]), string(fields[1]), string(fields[2]), fields[3]
		if err := yield(index, r); err != nil {
			return err
		}
	}
	return nil
}
