package mapping

import (
	"encoding/json"
	"slices"
)

// maxAgain bounds the events of one record that is mapped again, in bytes. They are let in by one message of the stream, as a
// text in JSON, where a byte may take six.
const maxAgain = 1 << 20

// Again maps a record of quarantine: record is its [Record] as JSON, raw its text. It gives a JSON list of the events that
// were refused, empty when the mapping leaves them out now. The error is a *Fault when they cannot be taken yet.
func (m *Mapping) Again(record, raw string) ([]byte, error) {
	var r Record
	if err := json.Unmarshal([]byte(record), &r); err != nil {
		return nil, failed(MappingFailed, "what was kept of the record cannot be read (%v); run the Source again", err)
	}
	value, fault := r.Value(raw)
	if fault != nil {
		return nil, fault
	}
	list := []byte{'['}
	fault, err := m.Events(r, raw, value, func(index int, event []byte, fault *Fault) error {
		switch {
		case len(r.Refused) > 0 && !slices.Contains(r.Refused, index):
			return nil // was taken at the time
		case fault != nil:
			return fault
		case len(list)+len(event) > maxAgain:
			return failed(TooLarge, "its events have more than %d bytes; run the Source again", maxAgain)
		}
		if len(list) > 1 {
			list = append(list, ',')
		}
		list = append(list, event...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if fault != nil {
		return nil, fault
	}
	return append(list, ']'), nil
}
