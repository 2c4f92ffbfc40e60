package check

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"kohort.dev/kohort/test/demo/truth"
)

func facts() truth.Truth {
	return truth.Truth{
		Profiles: 10, Expired: map[string]int{"web": 3, "crm": 1},
		Events:    map[string]int{"web": 20, "app": 10, "crm": 5, "support": 2},
		Audiences: map[string][]string{truth.VIP: {"a", "b"}, truth.Lapsed: {"c"}, truth.Winback: {"c"}},
	}
}

func sight() Seen {
	return Seen{
		Profiles: 10, Events: 33, Enforced: true, Deleted: 4,
		Accepted:  map[string]int{"web": 17, "app": 10, "crm": 4, "support": 2},
		Sizes:     map[string]int{truth.VIP: 2, truth.Lapsed: 1, truth.Winback: 1},
		Mailer:    map[string][]string{truth.VIP: {"a", "b"}, truth.Winback: {"c"}},
		Marketing: map[string][]string{truth.VIP: {"a", "b"}},
	}
}

func TestCompare(t *testing.T) {
	for _, test := range []struct {
		why    string
		change func(*Seen)
		wrong  string // name of the line that disagrees; empty: none
	}{
		{"what agrees agrees", func(*Seen) {}, ""},
		{"one profile too many is one customer split in two", func(s *Seen) { s.Profiles++ }, "unified profiles"},
		{"one lost event shows", func(s *Seen) { s.Accepted["app"]-- }, "events from app"},
		{"without a policy nothing is gone", func(s *Seen) {
			s.Enforced, s.Deleted, s.Events = false, 0, 37
			s.Accepted = map[string]int{"web": 20, "app": 10, "crm": 5, "support": 2}
		}, ""},
		{"without a policy nothing may be gone", func(s *Seen) {
			s.Enforced, s.Deleted, s.Events = false, 0, 36
			s.Accepted = map[string]int{"web": 20, "app": 10, "crm": 5, "support": 2}
		}, "events of all"},
		{"an overdue row shows", func(s *Seen) { s.Overdue = 1 }, "events overdue for deletion"},
		{"the right number of the wrong people is wrong", func(s *Seen) { s.Mailer[truth.VIP] = []string{"a", "x"} }, "audience vip"},
		{"a member twice is wrong", func(s *Seen) { s.Marketing[truth.VIP] = []string{"a", "a", "b"} }, "audience vip"},
		{"a size that nobody holds is wrong", func(s *Seen) { s.Sizes[truth.Lapsed] = 2 }, "audience lapsed"},
		{"a member sent for nothing shows", func(s *Seen) { s.Redundant = 1 }, "members sent for nothing"},
	} {
		seen := sight()
		test.change(&seen)
		lines := Compare(facts(), seen)
		var wrong []string
		for _, l := range lines {
			if l.Wrong != "" {
				wrong = append(wrong, l.Name)
			}
		}
		if test.wrong == "" && len(wrong) > 0 || test.wrong != "" && !slices.Equal(wrong, []string{test.wrong}) {
			t.Errorf("%s: lines that disagree: %v", test.why, wrong)
		}
		if Agree(lines) != (test.wrong == "") {
			t.Errorf("%s: Agree is %t", test.why, Agree(lines))
		}
		var out bytes.Buffer
		if err := Print(&out, lines); err != nil || strings.Contains(out.String(), "WRONG") != (test.wrong != "") {
			t.Errorf("%s: the table does not say so (%v):\n%s", test.why, err, out.String())
		}
	}
}
