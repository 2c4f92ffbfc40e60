package quarantine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/nats-io/nats.go/jetstream"

	"kohort.dev/kohort/internal/stream"
)

const (
	// pageRows are sent by one call, and at most about pageBytes of them.
	pageRows  = 500
	pageBytes = 4 << 20
	// messageBytes closes a message of the stream; a row may have more.
	messageBytes = 512 << 10
)

// ErrStream says that the stream did not take rows.
var ErrStream = errors.New("the stream does not acknowledge")

// Page is what one call of Redrive did.
type Page struct {
	Sent int
	// Refused rows are records that the mapping still makes no event of; they stay where they are.
	Refused int
	// Example says why the first of them is.
	Example string
	// Next is where the next call goes on; nil when there is nothing left.
	Next *Place
}

// Map makes a JSON list of events of a row that is a record, or says why it cannot.
type Map func(Row) ([]byte, error)

// Redrive sends rows that the filter chooses into the stream again, from a place on, nil for the beginning. They are on
// the stream's disk when it returns; who is called and not answered calls again with the same place.
func Redrive(ctx context.Context, conn driver.Conn, js jetstream.JetStream, f Filter, from *Place, mapped Map) (Page, error) {
	if from == nil {
		first, err := begin(ctx, conn)
		if err != nil {
			return Page{}, err
		}
		from = &first
	}
	rows, err := after(ctx, conn, f, *from, pageRows)
	if err != nil {
		return Page{}, err
	}
	page := Page{}
	out := outlet{js: js}
	for i, r := range rows {
		if r.Record != "" {
			events, err := mapped(r)
			if err != nil {
				if page.Refused++; page.Refused == 1 {
					page.Example = err.Error()
				}
				continue
			}
			r.Original = string(events)
		}
		if err := out.add(ctx, r); err != nil {
			return page, err
		}
		page.Sent++
		if out.bytes >= pageBytes && i < len(rows)-1 {
			page.Next = &Place{from.Through, r.seq, r.ID}
			break
		}
	}
	if n := len(rows); n == pageRows && page.Next == nil {
		page.Next = &Place{from.Through, rows[n-1].seq, rows[n-1].ID}
	}
	return page, out.flush(ctx)
}

// outlet gathers rows of one Source into messages.
type outlet struct {
	js      jetstream.JetStream
	source  string
	message []byte
	bytes   int // of all messages
}

func (o *outlet) add(ctx context.Context, r Row) error {
	body, err := json.Marshal(map[string]string{"id": r.ID, "original": r.Original})
	if err != nil {
		return fmt.Errorf("encoding row %s of quarantine: %w", r.ID, err)
	}
	// A row is on its own when the message would become too large with it.
	if len(o.message) > 0 && (o.source != r.Source || len(o.message)+len(body) >= messageBytes) {
		if err := o.flush(ctx); err != nil {
			return err
		}
	}
	o.source = r.Source
	o.bytes += len(body)
	o.message = stream.Append(o.message, stream.Record{Kind: stream.KindRedrive, Received: r.Received, Source: r.Source, Party: r.Party, Body: body})
	return nil
}

func (o *outlet) flush(ctx context.Context) error {
	if len(o.message) == 0 {
		return nil
	}
	if _, err := o.js.Publish(ctx, stream.Subject(o.source), o.message); err != nil {
		return fmt.Errorf("%w: %w", ErrStream, err)
	}
	o.message = nil
	return nil
}
