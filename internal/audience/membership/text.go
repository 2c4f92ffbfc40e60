package membership

import (
	"fmt"
	"strconv"
	"strings"

	"kohort.dev/kohort/internal/audience"
)

func namesOf(changes []change) []string {
	names := make([]string, len(changes))
	for i, c := range changes {
		names[i] = c.name
	}
	return names
}

// listed names the Audiences of changes, or counts them when they are many.
func listed(changes []change) string {
	if len(changes) > 3 {
		return fmt.Sprintf("%d audiences", len(changes))
	}
	return strings.Join(namesOf(changes), ", ")
}

func quoted(names []string) string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = audience.Quote(name)
	}
	return strings.Join(out, ", ")
}

// numbersOf is the SQL array of the revisions of changes.
func numbersOf(changes []change) string {
	numbers := make([]string, len(changes))
	for i, c := range changes {
		numbers[i] = strconv.FormatUint(c.revision, 10)
	}
	return "[" + strings.Join(numbers, ", ") + "]"
}

// revisions is the SQL condition that a row is of one of the changes.
func revisions(changes []change) string {
	pairs := make([]string, len(changes))
	for i, c := range changes {
		pairs[i] = fmt.Sprintf("(%s, %d)", audience.Quote(c.name), c.revision)
	}
	return "(audience, revision) IN (" + strings.Join(pairs, ", ") + ")"
}
