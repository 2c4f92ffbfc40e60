package mapping

import "fmt"

// Fault is why something cannot be used: for quarantine, and counted by reason in a run's report.
type Fault struct {
	Stage, Reason, Message string
}

// Error makes a fault an error.
func (f *Fault) Error() string { return f.Reason + ": " + f.Message }

// Stages of quarantine before an event is one.
const (
	StageRead    = "read"
	StageMapping = "mapping"
)

// Reasons of faults; an event that the tracking API would refuse has the reasons of package event.
const (
	TooLarge        = "RecordTooLarge"
	InvalidEncoding = "InvalidEncoding"
	InvalidCSV      = "InvalidCSV"
	InvalidJSON     = "InvalidJSON"
	MappingFailed   = "MappingFailed"
	NotAnEvent      = "NotAnEvent"
)

// Unreadable is the fault of a record that cannot be read.
func Unreadable(reason, format string, args ...any) *Fault {
	return &Fault{Stage: StageRead, Reason: reason, Message: fmt.Sprintf(format, args...)}
}

func failed(reason, format string, args ...any) *Fault {
	return &Fault{Stage: StageMapping, Reason: reason, Message: fmt.Sprintf(format, args...)}
}
