package statement

import "strings"

type kind int

const (
	end    kind = iota
	word        // an unquoted identifier, keyword or number
	quoted      // a string, a quoted identifier or a heredoc
	symbol      // any other single byte
)

type token struct {
	kind       kind
	text       string
	start, end int
}

// is says whether the token is the given keyword or symbol.
func (t token) is(what string) bool {
	return (t.kind == word || t.kind == symbol) && strings.EqualFold(t.text, what)
}

// name is the identifier that the token stands for; plain is false when it is
// quoted and escapes hide what it says.
func (t token) name() (name string, plain bool) {
	if t.kind != quoted || len(t.text) < 2 || t.text[0] == '$' {
		return t.text, true
	}
	inner := t.text[1 : len(t.text)-1]
	return inner, !strings.ContainsAny(inner, `\`+t.text[:1])
}

// declares says whether a name after the token names a table or a column
// rather than a function.
func (t token) declares() bool {
	return t.is("INTO") || t.is("TABLE") || t.is("EXISTS") || t.is(".") || t.is("VIEW")
}

// lexer splits a text into tokens the way ClickHouse's own lexer does: it
// knows comments, the three quotes and heredocs, so that a keyword inside them
// is not one.
type lexer struct {
	text string
	pos  int
}

func (l *lexer) next() token {
	l.skipBlanks()
	start := l.pos
	if start >= len(l.text) {
		return token{kind: end, start: start, end: start}
	}
	k := symbol
	switch c := l.text[start]; {
	case isWord(c):
		k = word
		for l.pos < len(l.text) && (isWord(l.text[l.pos]) || l.text[l.pos] == '$') {
			l.pos++
		}
	case c == '\'' || c == '"' || c == '`':
		k = quoted
		l.skipQuoted(c)
	case c == '$' && l.skipHeredoc():
		k = quoted
	default:
		l.pos++
	}
	return token{kind: k, text: l.text[start:l.pos], start: start, end: l.pos}
}

func isWord(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

func (l *lexer) skipBlanks() {
	for l.pos < len(l.text) {
		rest := l.text[l.pos:]
		switch {
		case strings.IndexByte(" \t\r\n\f\v\x00", rest[0]) >= 0:
			l.pos++
		case strings.HasPrefix(rest, "--"), strings.HasPrefix(rest, "# "), strings.HasPrefix(rest, "#!"):
			l.skipPast(rest, "\n")
		case strings.HasPrefix(rest, "/*"):
			l.skipPast(rest[2:], "*/")
			l.pos += 2
		default:
			return
		}
	}
	l.pos = min(l.pos, len(l.text))
}

// skipPast moves behind the first occurrence of mark in rest, which starts at
// the current position, or to the end of the text.
func (l *lexer) skipPast(rest, mark string) {
	i := strings.Index(rest, mark)
	if i < 0 {
		l.pos = len(l.text)
		return
	}
	l.pos += i + len(mark)
}

// skipQuoted moves behind the closing quote; a backslash escapes the next
// byte, a doubled quote is one quote.
func (l *lexer) skipQuoted(quote byte) {
	for l.pos++; l.pos < len(l.text); l.pos++ {
		switch l.text[l.pos] {
		case '\\':
			l.pos++
		case quote:
			if l.pos+1 < len(l.text) && l.text[l.pos+1] == quote {
				l.pos++
				continue
			}
			l.pos++
			return
		}
	}
	l.pos = min(l.pos, len(l.text))
}

// skipHeredoc moves behind $tag$…$tag$ and says whether there was one.
func (l *lexer) skipHeredoc() bool {
	rest := l.text[l.pos:]
	i := 1
	for i < len(rest) && isWord(rest[i]) {
		i++
	}
	if i >= len(rest) || rest[i] != '$' {
		return false
	}
	tag := rest[:i+1]
	closing := strings.Index(rest[len(tag):], tag)
	if closing < 0 {
		return false
	}
	l.pos += len(tag) + closing + len(tag)
	return true
}
