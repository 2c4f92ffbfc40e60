package check

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"kohort.dev/kohort/test/demo/population"
	"kohort.dev/kohort/test/demo/truth"
)

// Line is one number of the final table.
type Line struct {
	Name string
	// Truth is what the generator knows; Kohort is what kubectl shows.
	Truth, Kohort int
	// Mailer and Marketing are what destinations hold; nil where the audience does not go.
	Mailer, Marketing *int
	// Wrong says what disagrees; empty when nothing does.
	Wrong string
}

// SentForNothing names the line about members that the mailer was sent although it held them already.
const SentForNothing = "members sent for nothing"

// Compare holds what was seen against the truth.
func Compare(t truth.Truth, s Seen) []Line {
	lines := []Line{plain("unified profiles", t.Profiles, s.Profiles)}
	stored, all := t.Events, truth.Sum(t.Events)
	if s.Enforced {
		expired := truth.Sum(t.Expired)
		stored = map[string]int{}
		for source := range t.Events {
			stored[source] = t.Kept(source)
		}
		lines = append(lines, plain("events over a year old, deleted", expired, s.Deleted), plain("events overdue for deletion", 0, s.Overdue))
		all -= expired
	}
	for _, source := range []string{population.Web, population.App, population.CRM, population.Support} {
		lines = append(lines, plain("events from "+source, stored[source], s.Accepted[source]))
	}
	lines = append(lines, plain("events of all", all, s.Events))
	for _, name := range []string{truth.VIP, truth.Lapsed, truth.Winback} {
		line := plain("audience "+name, len(t.Audiences[name]), s.Sizes[name])
		if slices.Contains(mailerAudiences(), name) {
			line.Mailer = held(&line, "the mailer", t.Audiences[name], s.Mailer[name])
		}
		if name == truth.VIP {
			line.Marketing = held(&line, "marketing's table", t.Audiences[name], s.Marketing[name])
		}
		lines = append(lines, line)
	}
	return append(lines, plain(SentForNothing, 0, s.Redundant))
}

func plain(name string, truth, kohort int) Line {
	l := Line{Name: name, Truth: truth, Kohort: kohort}
	if truth != kohort {
		l.Wrong = fmt.Sprintf("%+d", kohort-truth)
	}
	return l
}

// held compares the members themselves: the same number of other people is not the same.
func held(l *Line, where string, want, got []string) *int {
	missing, extra := difference(want, got), difference(got, want)
	if len(missing)+len(extra) > 0 || len(want) != len(got) {
		l.Wrong = strings.TrimPrefix(fmt.Sprintf("%s; %s lacks %d and has %d too many", l.Wrong, where, len(missing), len(got)-len(want)+len(missing)), "; ")
	}
	n := len(got)
	return &n
}

// difference lists what is in a and not in b; both are sorted.
func difference(a, b []string) []string {
	var out []string
	for _, x := range a {
		if _, there := slices.BinarySearch(b, x); !there {
			out = append(out, x)
		}
	}
	return out
}

// Agree says whether every line agrees.
func Agree(lines []Line) bool {
	return !slices.ContainsFunc(lines, func(l Line) bool { return l.Wrong != "" })
}

// Print writes the final table.
func Print(w io.Writer, lines []Line) error {
	width := 0
	for _, l := range lines {
		width = max(width, len(l.Name))
	}
	if _, err := fmt.Fprintf(w, "%-*s %8s %8s %8s %10s\n", width, "", "truth", "kohort", "mailer", "marketing"); err != nil {
		return fmt.Errorf("printing the table: %w", err)
	}
	for _, l := range lines {
		verdict := "ok"
		if l.Wrong != "" {
			verdict = "WRONG: " + l.Wrong
		}
		_, err := fmt.Fprintf(w, "%-*s %8d %8d %8s %10s  %s\n", width, l.Name, l.Truth, l.Kohort, optional(l.Mailer), optional(l.Marketing), verdict)
		if err != nil {
			return fmt.Errorf("printing the table: %w", err)
		}
	}
	return nil
}

func optional(n *int) string {
	if n == nil {
		return ""
	}
	return strconv.Itoa(*n)
}
