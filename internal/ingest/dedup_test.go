package ingest

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"kohort.dev/kohort/internal/stream"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

// What is a duplicate depends on the window alone: not on how the stream is cut into batches, and not on who starts when.
func TestWindowOfDeduplication(t *testing.T) {
	const window = time.Hour
	again := func(second int) []byte {
		return written(second, `{"type":"track","event":"x","messageId":"m","userId":"u"}`)
	}
	// Stored at 0 and 3602; all others are within an hour of one of them.
	messages := [][]byte{again(0), again(1), again(3599), again(3602), again(3603), again(7201)}
	want := []string{"2026-11-23 10:00:00.000", "2026-11-23 11:00:02.000"}
	for _, c := range []struct {
		why     string
		events  int
		restart bool
	}{
		{"all in one batch", 1000, false},
		{"a batch each", 1, false},
		{"a batch each, and an engine each", 1, true},
	} {
		t.Run(c.why, func(t *testing.T) {
			js, conn := newStream(t), warehousetest.Open(t)
			cfg := config(conn, js)
			cfg.Window, cfg.MaxEvents, cfg.Linger = window, c.events, 50*time.Millisecond
			cfg.Clock = func() time.Time { return epoch.Add(3 * time.Hour) }
			if !c.restart {
				publish(t, js, messages...)
				i := New(cfg)
				start(t, i)
				await(t, i, uint64(len(messages)))
			}
			for n := 0; c.restart && n < len(messages); n++ {
				publish(t, js, messages[n])
				i := New(cfg)
				stop := start(t, i)
				await(t, i, uint64(n+1))
				if err := stop(); err != nil {
					t.Fatal(err)
				}
			}
			if got := texts(t, conn, "SELECT toString(received) FROM events ORDER BY received"); !slices.Equal(got, want) {
				t.Errorf("stored %v, want %v", got, want)
			}
		})
	}
}

// Each Source has its own window, which counts for its events whoever stored the one before.
func TestWindowsOfSources(t *testing.T) {
	from := func(second int, source string) []byte {
		return stream.Append(nil, stream.Record{
			Kind: stream.KindEvent, Received: epoch.Add(time.Duration(second) * time.Second), Source: source, Party: "First",
			Body: []byte(`{"type":"track","event":"x","messageId":"m","userId":"u"}`),
		})
	}
	js, conn := newStream(t), warehousetest.Open(t)
	cfg := config(conn, js)
	cfg.Window = time.Hour
	cfg.Clock = func() time.Time { return epoch.Add(48 * time.Hour) }
	cfg.Terms = func() Terms {
		return Terms{map[string]SourceTerms{"brief": {Window: time.Minute}, "long": {Window: 24 * time.Hour}}}
	}
	messages := [][]byte{
		from(0, "web"),
		from(61, "web"), from(59, "brief"), // within an hour, within a minute
		from(62, "brief"),                                    // stored
		from(3663, "long"),                                   // within a day of it
		from(3664, "web"),                                    // stored: over an hour
		from(3664+86400, "long"),                             // within a day, to the second
		from(3664+86402, "long"),                             // stored
		from(3664+86403, "brief"), from(3664+86463, "brief"), // within a minute; stored
	}
	publish(t, js, messages...)
	i := New(cfg)
	start(t, i)
	await(t, i, uint64(len(messages)))
	got := texts(t, conn, "SELECT concat(source, ' ', toString(toUnixTimestamp(received) - "+strconv.FormatInt(epoch.Unix(), 10)+")) FROM events ORDER BY received")
	if want := []string{"web 0", "brief 62", "web 3664", "long 90066", "brief 90127"}; !slices.Equal(got, want) {
		t.Errorf("stored %v, want %v", got, want)
	}
}

// Every property of an accepted event can be read by the warehouse, whatever JSON allows.
func TestPropertiesStayReadable(t *testing.T) {
	js, conn := newStream(t), warehousetest.Open(t)
	odd := []string{
		`123456789012345678901234567890`, `-9223372036854775809`, `18446744073709551616`, `18446744073709551615`, `1e400`, `-1E+999`, `1e-400`,
		`0.12345678901234567890123456789`, `"\ud800"`, `"a\udc00b"`, `"\ud83d\ude00"`, `"\ud83d\ud83d\ude00"`, `"\\ud800"`, `"\u0000"`, `{"\ud800":1}`,
		`[1e400,{"a":"\udfff"}]`, `"12345678901234567890123"`, `"1e999"`, `-0`, `1E5`,
	}
	var bodies []string
	for n, value := range odd {
		id := string(rune('a' + n))
		bodies = append(bodies, `{"type":"track","event":"x","messageId":"`+id+`","userId":"u","properties":{"odd":`+value+`,"n":7},"context":{"odd":`+value+`,"n":7}}`)
	}
	publish(t, js, written(0, bodies...))
	i := New(config(conn, js))
	start(t, i)
	await(t, i, 1)
	if s := i.Stats(); s.Stored != uint64(len(odd)) {
		t.Errorf("stored %d of %d: %+v", s.Stored, len(odd), s)
	}
	for _, column := range []string{"properties", "context"} {
		unreadable := texts(t, conn, "SELECT "+column+" FROM events WHERE JSONExtractInt("+column+", 'n') != 7 OR NOT JSONHas("+column+", 'odd')")
		if len(unreadable) > 0 {
			t.Errorf("%s that cannot be read: %q", column, unreadable)
		}
	}
	if got := texts(t, conn, "SELECT JSONExtractRaw(properties, 'odd') FROM events WHERE message_id = 'k'"); !slices.Equal(got, []string{`"😀"`}) && !slices.Equal(got, []string{`"\ud83d\ude00"`}) {
		t.Errorf("a surrogate pair became %q", got)
	}
}
