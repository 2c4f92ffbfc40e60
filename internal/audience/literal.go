package audience

import (
	"strconv"
	"strings"
	"time"
)

// Values get into SQL as literals, in one place and escaped here: a refresh of a hundred audiences can hold thousands of
// values, more than fit the query string that bound parameters travel in.

// Quote writes a text as a ClickHouse string literal. Inside one only the backslash and the quote mean something
// (https://clickhouse.com/docs/sql-reference/syntax#string); the NUL byte is escaped too, for tools that end at it.
func Quote(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\x00", `\0`).Replace(text) + "'"
}

func quoteAll(texts []string) string {
	quoted := make([]string, len(texts))
	for i, text := range texts {
		quoted[i] = Quote(text)
	}
	return strings.Join(quoted, ", ")
}

// float writes a number so that ClickHouse reads the very same Float64.
func float(n float64) string {
	text := strconv.FormatFloat(n, 'g', -1, 64)
	if !strings.ContainsAny(text, ".e") {
		text += ".0"
	}
	return text
}

// Moment writes a time as DateTime64(3, 'UTC').
func Moment(t time.Time) string {
	return "fromUnixTimestamp64Milli(" + strconv.FormatInt(t.UnixMilli(), 10) + ", 'UTC')"
}
