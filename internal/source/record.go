package source

import (
	"context"
	"errors"
	"fmt"
)

// maxRecord is the largest record in bytes as it stands in its file. An event may have 32 KiB; records have more fields.
const maxRecord = 1 << 20

// record is one row of a file or of a query.
type record struct {
	number int64  // from 1, in its file or result
	raw    string // as it was read; what is made of it must not depend on anything else
	value  any    // what the mapping sees as this
	id     func(kind string, index int) string
	fault  *fault // why value could not be read; nil when it could
}

// fault is why something cannot be used: for quarantine, and counted by reason in the run's report.
type fault struct {
	stage, reason, message string
}

// Stages of quarantine that a puller knows; those of an event's own checks are package event's.
const (
	stageRead    = "read"
	stageMapping = "mapping"
)

// Reasons of faults.
const (
	faultTooLarge = "RecordTooLarge"
	faultEncoding = "InvalidEncoding"
	faultCSV      = "InvalidCSV"
	faultJSON     = "InvalidJSON"
	faultMapping  = "MappingFailed"
	faultNoEvent  = "NotAnEvent"
)

func readFault(reason, format string, args ...any) *fault {
	return &fault{stage: stageRead, reason: reason, message: fmt.Sprintf(format, args...)}
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
