package statement

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		why, text string
		want      Statement // Text is filled in when empty
	}{
		{"a query", "SELECT 1", Statement{Verb: "SELECT", Object: "1"}},
		{"a query in parentheses after comments", "-- x\n/* y */ # z\n((select 1)) union all (select 2)", Statement{Verb: "SELECT", Object: "1"}},
		{"the word after the verb decides for SYSTEM, whatever stands between", "system /* */ -- \n shutdown", Statement{Verb: "SYSTEM", Object: "SHUTDOWN"}},
		{"the output format", "SELECT a FROM t FORMAT JSONEachRow", Statement{Verb: "SELECT", Object: "A", Format: "JSONEachRow"}},
		{"format as a function is no clause", "SELECT format('{}', x), (SELECT 1 FORMAT CSV)", Statement{Verb: "SELECT", Object: "FORMAT"}},
		{"rows of an insert after one line break", "INSERT INTO t (a) FORMAT Native\r\n\n\x01",
			Statement{Text: "INSERT INTO t (a) ", Verb: "INSERT", Object: "INTO", Rows: true, Format: "Native", Inline: "\n\x01"}},
		{"rows on the same line", "INSERT INTO t FORMAT JSONEachRow {\"a\":1}",
			Statement{Text: "INSERT INTO t ", Verb: "INSERT", Object: "INTO", Rows: true, Format: "JSONEachRow", Inline: "{\"a\":1}"}},
		{"settings belong to the statement", "INSERT INTO t SETTINGS async_insert = 1 FORMAT CSV 1",
			Statement{Text: "INSERT INTO t SETTINGS async_insert = 1 ", Verb: "INSERT", Object: "INTO", Rows: true, Format: "CSV", Inline: "1"}},
		{"values", "INSERT INTO t (a, `values`) VALUES (1, 'FORMAT')",
			Statement{Text: "INSERT INTO t (a, `values`) ", Verb: "INSERT", Object: "INTO", Rows: true, Format: "Values", Inline: " (1, 'FORMAT')"}},
		{"a table may be called format, and so may a column", "INSERT INTO format (values, format) FORMAT CSV",
			Statement{Text: "INSERT INTO format (values, format) ", Verb: "INSERT", Object: "INTO", Rows: true, Format: "CSV"}},
		{"a table with its database", "INSERT INTO db.values VALUES (1)",
			Statement{Text: "INSERT INTO db.values ", Verb: "INSERT", Object: "INTO", Rows: true, Format: "Values", Inline: " (1)"}},
		{"an insert of a query has no rows", "INSERT INTO t SELECT 1 FORMAT CSV", Statement{Verb: "INSERT", Object: "INTO"}},
		{"an insert of a query with WITH", "INSERT INTO t WITH 1 AS x SELECT x", Statement{Verb: "INSERT", Object: "INTO"}},
		{"quotes, escapes and comments hide keywords", "INSERT INTO `t FORMAT` (a) /* FORMAT x */ SETTINGS log_comment = 'it\\'s '' FORMAT CSV' FORMAT TSV 1",
			Statement{Text: "INSERT INTO `t FORMAT` (a) /* FORMAT x */ SETTINGS log_comment = 'it\\'s '' FORMAT CSV' ", Verb: "INSERT", Object: "INTO", Rows: true, Format: "TSV", Inline: "1"}},
		{"a heredoc hides keywords", "INSERT INTO t SETTINGS log_comment = $x$ VALUES $x$ VALUES (2)",
			Statement{Text: "INSERT INTO t SETTINGS log_comment = $x$ VALUES $x$ ", Verb: "INSERT", Object: "INTO", Rows: true, Format: "Values", Inline: " (2)"}},
		{"a file of the server", "INSERT INTO t FROM INFILE '/etc/passwd' FORMAT CSV",
			Statement{Text: "INSERT INTO t FROM INFILE '/etc/passwd' ", Verb: "INSERT", Object: "INTO", Rows: true, Format: "CSV", FromInfile: true}},
		{"nothing", " -- nothing", Statement{}},
		{"an unfinished quote ends with the text", "SELECT 'abc\\", Statement{Verb: "SELECT"}},
		{"an unfinished comment ends with the text", "SELECT /* abc", Statement{Verb: "SELECT"}},
	} {
		if c.want.Text == "" {
			c.want.Text = c.text
		}
		if diff := cmp.Diff(c.want, Parse(c.text)); diff != "" {
			t.Errorf("%s: %q (-want +got):\n%s", c.why, c.text, diff)
		}
	}
}

func TestReaches(t *testing.T) {
	for _, c := range []struct{ why, text, want string }{
		{"a query of tables", "SELECT count(), file FROM t WHERE engine = 'MySQL' AND source = 1", ""},
		{"a table called file", "INSERT INTO file (a) VALUES (1)", ""},
		{"a column called file", "CREATE TABLE t (file String, source String) ENGINE = MergeTree ORDER BY file", ""},
		{"a text that mentions it", "SELECT 'file(1)' -- file(2)", ""},
		{"a dictionary of a table", "CREATE DICTIONARY d (a UInt64) PRIMARY KEY a SOURCE(CLICKHOUSE(TABLE 't')) LAYOUT(FLAT())", ""},
		{"a backup to the directory of backups", "BACKUP DATABASE kohort TO File('monday')", ""},
		{"the function", "SELECT file('/etc/passwd')", "file()"},
		{"the function behind a comment", "SELECT file/**/ ('/etc/passwd')", "file()"},
		{"the function in quotes", "SELECT `file`('/etc/passwd')", "file()"},
		{"the function in quotes with escapes", `SELECT "\x66ile"('/etc/passwd')`, `"\x66ile"`},
		{"the function handed to another", "SELECT arrayMap(file, ['/etc/passwd'])", "file()"},
		{"the function applied to columns", "SELECT * APPLY(file) FROM t", "file()"},
		{"the same without parentheses", "SELECT * APPLY file FROM t", "file()"},
		{"a column handed to another function", "SELECT count(file), concat(file, 'x') FROM t", ""},
		{"in a default of a column", "CREATE TABLE t (a String DEFAULT file('/x')) ENGINE = Memory", "file()"},
		{"a model of the server's files", "SELECT catboostEvaluate('/x', 1)", "catboostEvaluate()"},
		{"a dictionary of a file", "CREATE DICTIONARY d (a UInt64) PRIMARY KEY a SOURCE(FILE(path '/etc/passwd' format 'CSV')) LAYOUT(FLAT())", "a dictionary's SOURCE(FILE)"},
		{"a database of another server", "CREATE DATABASE d ENGINE = MySQL('h', 'd', 'u', 'p')", "ENGINE = MySQL"},
		{"the same without the sign", "CREATE DATABASE d ENGINE mysql('h', 'd', 'u', 'p')", "ENGINE = mysql"},
		{"the same in quotes", "CREATE DATABASE d ENGINE = `MySQL`('h', 'd', 'u', 'p')", "ENGINE = MySQL"},
		{"a backup to another server", "BACKUP DATABASE kohort TO S3('https://h/b', 'k', 's')", "S3()"},
	} {
		if got := Reaches(c.text); got != c.want {
			t.Errorf("%s: %s reaches %q, want %q", c.why, c.text, got, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"INSERT INTO t FORMAT CSV 1", "SELECT '", "$a$", "/*", "((", "`\\", "INSERT INTO t VALUES"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s := Parse(text)
		if s.Rows && len(s.Text)+len(s.Inline) > len(text) {
			t.Errorf("the parts of %q are longer than it", text)
		}
		Reaches(text)
	})
}
