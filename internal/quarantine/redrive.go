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
	// Next is where the next call goes on; nil when there is nothing left.
	Next *Place
}

// Redrive sends rows that the filter chooses into the stream again, from a place on, nil for the beginning. They are on
// the stream's disk when it returns; who is called and not answered calls again with the same place.
func Redrive(ctx context.Context, conn driver.Conn, js jetstream.JetStream, f Filter, from *Place) (Page, error) {
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
	page, bytes := Page{}, 0
	var message []byte
	for i, r := range rows {
		body, err := json.Marshal(map[string]string{"id": r.ID, "original": r.Original})
		if err != nil {
			return page, fmt.Errorf("encoding row %s of quarantine: %w", r.ID, err)
		}
		bytes += len(body)
		message = stream.Append(message, stream.Record{Kind: stream.KindRedrive, Received: r.Received, Source: r.Source, Party: r.Party, Body: body})
		last := i == len(rows)-1 || bytes >= pageBytes
		// The next row is on its own when this message would become too large with it.
		if last || len(message)+len(rows[i+1].Original)*2 >= messageBytes {
			if _, err := js.Publish(ctx, stream.Subject(r.Source), message); err != nil {
				return page, fmt.Errorf("%w: %w", ErrStream, err)
			}
			message = nil
		}
		page.Sent++
		if last {
			if i < len(rows)-1 || len(rows) == pageRows {
				page.Next = &Place{from.Through, r.seq, r.ID}
			}
			break
		}
	}
	return page, nil
}
