package stream

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func record(kind Kind, body string) Record {
	return Record{Kind: kind, Received: time.UnixMicro(1_764_000_000_123_456).UTC(), Source: "web", Party: "First", IP: "203.0.113.9", Body: []byte(body)}
}

func decodeAll(message []byte) ([]Record, error) {
	var records []Record
	err := Decode(message, func(index int, r Record) error {
		if index != len(records) {
			return errors.New("indexes must count from 0")
		}
		records = append(records, r)
		return nil
	})
	return records, err
}

func TestEnvelopeGivesBackWhatWasPutIn(t *testing.T) {
	cases := map[string][]Record{
		"several records of a group keep their order and kinds":    {record(KindBatch, `{"batch":[]}`), record(KindTrack, `{"event":"A"}`), record(KindQuarantine, `{}`)},
		"a body may be empty or hold any byte, also the version's": {record(KindEvent, ""), record(KindEvent, "\x01\x00\xff")},
		"a body longer than 127 bytes needs a length of two bytes": {record(KindEvent, string(make([]byte, 300)))},
		"what only a receiver knows may be missing":                {{Kind: KindAlias, Received: time.UnixMicro(0).UTC(), Body: []byte("{}")}},
	}
	for why, records := range cases {
		t.Run(why, func(t *testing.T) {
			var message []byte
			for _, r := range records {
				message = Append(message, r)
			}
			got, err := decodeAll(message)
			if err != nil {
				t.Fatal(err)
			}
			for i := range got {
				if len(got[i].Body) == 0 {
					got[i].Body = records[i].Body // nil and empty are the same to a reader
				}
			}
			if diff := cmp.Diff(records, got); diff != "" {
				t.Errorf("(-put in +got):\n%s", diff)
			}
		})
	}
}

func TestEnvelopeWithoutRecordsIsValid(t *testing.T) {
	got, err := decodeAll([]byte{version})
	if err != nil || len(got) != 0 {
		t.Errorf("a probe holds no record: got %d records and error %v", len(got), err)
	}
}

func TestEnvelopeRefusesWhatItDidNotWrite(t *testing.T) {
	whole := Append(nil, record(KindTrack, `{"event":"A"}`))
	for cut := range whole {
		if cut == 1 {
			continue // a message without records
		}
		if _, err := decodeAll(whole[:cut]); !errors.Is(err, ErrMalformed) {
			t.Errorf("cut at %d of %d: got %v, want ErrMalformed", cut, len(whole), err)
		}
	}
	if _, err := decodeAll([]byte("{\"batch\":[]}")); !errors.Is(err, ErrMalformed) {
		t.Errorf("a foreign message: got %v, want ErrMalformed", err)
	}
}

func TestDecodeStopsAtTheReadersError(t *testing.T) {
	message := Append(Append(nil, record(KindTrack, "1")), record(KindTrack, "2"))
	stop, calls := errors.New("enough"), 0
	err := Decode(message, func(int, Record) error { calls++; return stop })
	if !errors.Is(err, stop) || calls != 1 {
		t.Errorf("got %v after %d calls, want the reader's error after one", err, calls)
	}
}

// A message comes from the network: decoding must never panic, and what decodes must encode to the same bytes.
func FuzzDecode(f *testing.F) {
	f.Add([]byte{version})
	f.Add(Append(Append(nil, record(KindBatch, `{"batch":[]}`)), record(KindTrack, "")))
	f.Add([]byte{version, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, message []byte) {
		records, err := decodeAll(message)
		if err != nil {
			return
		}
		again := []byte{version}
		for _, r := range records {
			again = Append(again, r)
		}
		back, err := decodeAll(again)
		if err != nil {
			t.Fatalf("what was decoded does not decode again: %v", err)
		}
		if diff := cmp.Diff(records, back); diff != "" {
			t.Errorf("(-first +second):\n%s", diff)
		}
	})
}
