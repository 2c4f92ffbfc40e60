package destination

import (
	"fmt"
	"slices"
	"strings"

	"kohort.dev/kohort/internal/run"
)

// column that a table of members must have. More are allowed if they take a row that does not name them.
type column struct {
	name string
	// types that it may have, as the database writes them; the first is what it is made with.
	types []string
}

// mismatches lists what is wrong with a table that has the columns found (name to type), of which needed must be given
// a value by every INSERT.
func mismatches(columns []column, found map[string]string, needed []string) []string {
	var problems []string
	known := map[string]bool{}
	for _, c := range columns {
		known[c.name] = true
		want := strings.Join(c.types, " or ")
		switch kind, ok := found[c.name]; {
		case !ok:
			problems = append(problems, fmt.Sprintf("column %s (%s) is missing", c.name, c.types[0]))
		case !slices.Contains(c.types, kind):
			problems = append(problems, fmt.Sprintf("column %s is %s and must be %s", c.name, kind, want))
		}
	}
	slices.Sort(needed)
	for _, name := range needed {
		if !known[name] {
			problems = append(problems, fmt.Sprintf("column %s needs a value or a default", name))
		}
	}
	return problems
}

// mismatched says that members cannot be held in a table.
func mismatched(table string, problems []string) error {
	return run.Refuse(ReasonTableMismatch, "table %s is there and is not one that members can be held in: %s; name another table in spec.sql.table, which is made when missing, or change this one (docs/destinations/sql.md)",
		table, strings.Join(problems, ", "))
}

// unkeyed says that rows would double in a table.
func unkeyed(table string) error {
	return run.Refuse(ReasonTableMismatch, "table %s has no unique key on (audience, profile_id); add PRIMARY KEY (audience, profile_id), or name another table in spec.sql.table, which is made when missing", table)
}
