package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// longestCell of a table, in characters.
const longestCell = 60

// showTable prints a profile for people.
func showTable(out io.Writer, answer []byte) error {
	var p profile
	if err := json.Unmarshal(answer, &p); err != nil {
		return fmt.Errorf("reading the engine's answer: %w", err)
	}
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintf(w, "Profile\t%s\nKnown since\t%s\n", p.ID, stamp(p.since()))

	section(w, "Identifiers", "TYPE", "VALUE")
	for _, kind := range slices.Sorted(maps.Keys(p.Identifiers)) {
		for _, value := range p.Identifiers[kind] {
			row(w, kind, value)
		}
	}
	section(w, "Touchpoints", "SOURCE", "EVENTS", "FIRST", "LAST")
	for _, t := range p.Touchpoints {
		row(w, t.Source, strconv.FormatInt(t.Events, 10), stamp(t.First), stamp(t.Last))
	}
	section(w, "Traits", "NAME", "VALUE", "FROM", "AS OF")
	for _, name := range slices.Sorted(maps.Keys(p.Traits)) {
		t := p.Traits[name]
		row(w, name, string(t.Value), t.Source, stamp(t.Occurred))
	}
	section(w, "Audiences", "NAME", "SINCE")
	for _, a := range p.Audiences {
		row(w, a.Name, stamp(a.Since))
	}
	section(w, "Latest events", "TIME", "EVENT", "SOURCE", "PROPERTIES")
	for _, e := range p.Events {
		row(w, stamp(e.Occurred), e.Name, e.Source, string(e.Properties))
	}
	return w.Flush()
}

func section(w io.Writer, title string, columns ...string) {
	fmt.Fprintf(w, "\n%s\n  %s\n", title, strings.Join(columns, "\t"))
}

func row(w io.Writer, cells ...string) {
	for i, cell := range cells {
		cells[i] = clean(cell)
	}
	fmt.Fprintf(w, "  %s\n", strings.Join(cells, "\t"))
}

// clean makes a value that a customer chose fit for a terminal: one line, no control characters, not too long.
func clean(text string) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '·'
		}
		return r
	}, text)
	if runes := []rune(text); len(runes) > longestCell {
		text = string(runes[:longestCell-1]) + "…"
	}
	return text
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }

// since is when the customer was first seen. A profile is made later than that when events come late or from files.
func (p profile) since() time.Time {
	first := p.Created
	for _, t := range p.Touchpoints {
		if t.First.Before(first) {
			first = t.First
		}
	}
	return first
}
