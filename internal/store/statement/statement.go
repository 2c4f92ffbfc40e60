// Package statement takes the text of one ClickHouse statement apart as far as
// the store must: what kind it is, and, for an INSERT, where the statement
// ends and its rows begin. It does not judge whether the SQL is valid; the
// engine's parser does.
package statement

import "strings"

// Statement is a text taken apart.
type Statement struct {
	// Text is the statement; for an INSERT with rows, the part before them,
	// without the FORMAT clause.
	Text string
	// Verb is the first word in upper case, such as SELECT; empty when the text
	// holds no word. Parentheses before it are skipped.
	Verb string
	// Object is the word or number after the verb in upper case, such as RELOAD
	// in SYSTEM RELOAD; empty when neither follows.
	Object string
	// Rows says that the statement is an INSERT that is followed by rows.
	Rows bool
	// Format names the encoding of the rows, or the output format that a
	// FORMAT clause of another statement asks for; empty when there is none.
	Format string
	// Inline holds the rows that follow in the same text.
	Inline string
	// FromInfile says that an INSERT reads a file of the server.
	FromInfile bool
}

// Reaches returns the name of the first thing in text that reaches out of the
// engine and that no grant of the engine's covers, or "": a function that
// reads files, or a clause that takes a place outside.
//
// It looks at the words only. A word in a string that is evaluated later, such
// as the argument of format(Values, …), goes unseen: the container must not
// hold what the store's users may not read.
func Reaches(text string) string {
	l := lexer{text: text}
	verb := (&lexer{text: text}).next()
	backup := verb.is("BACKUP") || verb.is("RESTORE")
	var ahead, before, last token
	for tok := l.next(); ; ahead, before, last, tok = before, last, tok, l.next() {
		opens := tok.kind == symbol && tok.text == "("
		name, plain := last.name()
		switch {
		case last.kind == quoted && last.text[0] != '\'' && opens && !plain:
			return last.text // an escaped name can be any function
		case opens && (name == "file" || name == "catboostEvaluate") && !before.declares():
			return name + "()"
		case before.is("APPLY") && name == "file", before.is("(") && name == "file" && higherOrder(ahead, tok):
			return "file()" // handed to another function, which calls it
		case opens && backup && outsideBackups[strings.ToLower(name)]:
			return name + "()"
		}
		if tok.kind == end {
			return ""
		}
		if what := outside(before, last, tok); what != "" {
			return what
		}
	}
}

// higherOrder says whether a name between function( and next can be called by
// that function: arrayMap(name, …), mapApply(name, …), APPLY(name).
func higherOrder(function, next token) bool {
	name := strings.ToLower(function.text)
	return next.is(",") && (strings.HasPrefix(name, "array") || strings.HasPrefix(name, "map")) || name == "apply"
}

// outside names the clause that the three tokens are part of, if it takes a
// place outside the store: SOURCE(HTTP(, ENGINE = MySQL.
func outside(before, last, tok token) string {
	name, _ := tok.name()
	upper := strings.ToUpper(name)
	switch {
	case before.is("SOURCE") && last.is("(") && upper != "CLICKHOUSE" && upper != "NULL":
		return "a dictionary's SOURCE(" + name + ")"
	case last.is("ENGINE") || before.is("ENGINE") && last.is("="):
		text := tok.kind == quoted && (tok.text[0] == '\'' || tok.text[0] == '$')
		if !text && (outsideEngines[strings.ToLower(name)] || tok.kind == quoted) {
			return "ENGINE = " + name
		}
	}
	return ""
}

// outsideBackups are the places of a BACKUP beside the directory that the
// store allows. In lower case.
var outsideBackups = map[string]bool{"s3": true, "azureblobstorage": true, "hdfs": true, "url": true}

// outsideEngines are the database engines that reach files or other servers;
// for tables the engine's own grants say so. In lower case.
var outsideEngines = map[string]bool{
	"filesystem": true, "hdfs": true, "s3": true, "sqlite": true, "mysql": true, "postgresql": true,
	"materializedpostgresql": true, "datalakecatalog": true, "backup": true,
}

// Streams says whether the engine can stream the statement's result: it does
// so for queries only, not for SHOW, DESCRIBE, EXPLAIN or DDL.
func (s Statement) Streams() bool {
	return s.Verb == "SELECT" || s.Verb == "WITH" || s.Verb == "FROM"
}

// Parse takes text apart.
func Parse(text string) Statement {
	s := Statement{Text: text}
	l := lexer{text: text}
	tok := l.next()
	for tok.kind == symbol && tok.text == "(" {
		tok = l.next()
	}
	if tok.kind != word {
		return s
	}
	s.Verb = strings.ToUpper(tok.text)
	if second := (&lexer{text: text, pos: l.pos}).next(); second.kind == word {
		s.Object = strings.ToUpper(second.text)
	}
	if s.Verb == "INSERT" {
		s.insert(&l)
		return s
	}
	s.outputFormat(&l)
	return s
}

// insert looks for the end of the statement: FORMAT name or VALUES outside
// every parenthesis, unless a SELECT comes before it.
func (s *Statement) insert(l *lexer) {
	depth := 0
	previous := "INSERT"
	for tok := l.next(); tok.kind != end; tok = l.next() {
		switch {
		case tok.kind == symbol && tok.text == "(":
			depth++
		case tok.kind == symbol && tok.text == ")":
			depth--
		case tok.kind == word && depth == 0 && previous != "INTO" && previous != "TABLE" && previous != ".":
			switch strings.ToUpper(tok.text) {
			case "SELECT", "WITH":
				return
			case "INFILE":
				s.FromInfile = s.FromInfile || previous == "FROM"
			case "VALUES":
				s.rows("Values", tok.start, tok.end)
				return
			case "FORMAT":
				name := l.next()
				if name.kind != word {
					return
				}
				s.rows(name.text, tok.start, name.end)
				return
			}
		}
		previous = strings.ToUpper(tok.text)
	}
}

// rows cuts the text: the statement before from, the rows after to.
func (s *Statement) rows(format string, from, to int) {
	inline := s.Text[to:]
	if format != "Values" {
		// As ClickHouse does it: blanks up to and with one line break belong to
		// the statement, whatever follows belongs to the rows.
		inline = strings.TrimLeft(inline, " \t\f;")
		inline = strings.TrimPrefix(inline, "\r")
		inline = strings.TrimPrefix(inline, "\n")
	}
	s.Rows, s.Format, s.Inline, s.Text = true, format, inline, s.Text[:from]
}

// outputFormat finds the last FORMAT name outside parentheses.
func (s *Statement) outputFormat(l *lexer) {
	depth := 0
	for tok := l.next(); tok.kind != end; tok = l.next() {
		switch {
		case tok.kind == symbol && tok.text == "(":
			depth++
		case tok.kind == symbol && tok.text == ")":
			depth--
		case tok.kind == word && depth <= 0 && strings.EqualFold(tok.text, "FORMAT"):
			// Only a look: after the function format comes a parenthesis to count.
			if name := (&lexer{text: l.text, pos: l.pos}).next(); name.kind == word {
				s.Format = name.text
			}
		}
	}
}
