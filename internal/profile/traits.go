package profile

import (
	"encoding/json"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"kohort.dev/kohort/internal/event"
)

// TraitRow is a row of the table traits. A value of null says that the trait was deleted then.
type TraitRow struct {
	Profile       uint64
	Name, Value   string
	Source, Party string
	Occurred      time.Time
	Seq           uint64
}

// Fold gives the traits that events leave behind, at most one row per profile and name: the latest by event time, of
// several at the same time the last. assigned is each event's profile; 0 is nobody.
func Fold(events []event.Event, assigned []uint64) []TraitRow {
	type key struct {
		profile uint64
		name    string
	}
	var rows []TraitRow
	at := map[key]int{}
	for i := range events {
		e := &events[i]
		if assigned[i] == 0 {
			continue
		}
		for _, t := range e.Traits {
			row := TraitRow{assigned[i], t.Name, t.Value, e.Source, e.Party, e.Occurred, e.Seq}
			k := key{row.Profile, row.Name}
			j, ok := at[k]
			switch {
			case !ok:
				at[k] = len(rows)
				rows = append(rows, row)
			case !row.Occurred.Before(rows[j].Occurred):
				rows[j] = row
			}
		}
	}
	return rows
}

// latestTraits picks, as [Traits] does, the latest of the values of one customer that the warehouse has. They are few, and
// grouping them there costs as much again as reading them.
type latestTraits map[string]TraitRow

func (l latestTraits) scan(rows driver.Rows) error {
	var t TraitRow
	err := rows.Scan(&t.Name, &t.Value, &t.Source, &t.Party, &t.Occurred, &t.Seq)
	known, is := l[t.Name]
	if !is || t.Occurred.After(known.Occurred) || t.Occurred.Equal(known.Occurred) && t.Seq >= known.Seq {
		l[t.Name] = t
	}
	return err
}

func (l latestTraits) fill(traits map[string]Trait) {
	for name, t := range l {
		if t.Value != "null" {
			traits[name] = Trait{Value: json.RawMessage(t.Value), Source: t.Source, Party: t.Party, Occurred: t.Occurred}
		}
	}
}
