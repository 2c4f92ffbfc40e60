package source

import (
	"context"
	"errors"

	"kohort.dev/kohort/internal/mapping"
	"kohort.dev/kohort/internal/run"
)

// maxRecord is the largest record in bytes.
const maxRecord = mapping.MaxRecord

// record is one row of a file or of a query, or one message. What is made of it must not depend on anything else.
type record struct {
	mapping.Record
	raw   string         // as it was read
	value any            // what the mapping sees as this
	fault *mapping.Fault // why value could not be read; nil when it could
}

// compile parses the mapping of an order.
func compile(text string) (*mapping.Mapping, error) {
	m, err := mapping.Compile(text)
	if err != nil {
		return nil, run.Refuse(reasonMappingInvalid, "%w", err)
	}
	return m, nil
}

// taker is given the records of a file or query one after the other.
type taker func(context.Context, record) error

// errStructure says that a file as a whole is not what spec.files.format says. The message is for people.
type errStructure struct{ message string }

func (e errStructure) Error() string { return e.message }

func isStructure(err error) bool {
	var structure errStructure
	return errors.As(err, &structure)
}
