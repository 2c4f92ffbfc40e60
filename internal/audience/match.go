package audience

import (
	"slices"
	"strings"

	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/parser"
)

// operation of a rule's node.
type operation uint8

const (
	criterion operation = iota // the answer of one criterion
	every                      // every argument holds
	either                     // at least one argument holds
	not                        // its one argument does not hold
)

// rule is a boolean expression over the names of criteria.
type rule struct {
	op   operation
	name string // of a criterion
	args []rule
}

// answer of a criterion, when it may depend on who is asked.
type answer uint8

const (
	no answer = iota
	maybe
	yes
)

func yesOrNo(is bool) answer {
	if is {
		return yes
	}
	return no
}

// possible evaluates the rule over the answers of its criteria. It is maybe more often than it could be: it does not see
// that a && !a is false.
func (r rule) possible(answered func(name string) answer) answer {
	switch r.op {
	case criterion:
		return answered(r.name)
	case not:
		return yes - r.args[0].possible(answered)
	}
	out := r.args[0].possible(answered)
	for _, arg := range r.args[1:] {
		if r.op == either {
			out = max(out, arg.possible(answered))
		} else {
			out = min(out, arg.possible(answered))
		}
	}
	return out
}

// everyOf is the rule of an Audience without match.
func everyOf(names []string) rule {
	r := rule{op: every}
	for _, name := range names {
		r.args = append(r.args, rule{op: criterion, name: name})
	}
	return r
}

// maxDepth of parentheses and negations in match.
const maxDepth = 64

const matchField = "spec.match"

// parseMatch reads a CEL expression of names, &&, || and !.
func parseMatch(text string, names []string) (rule, error) {
	reader, err := parser.NewParser(parser.MaxRecursionDepth(maxDepth), parser.ErrorReportingLimit(1))
	if err != nil {
		return rule{}, err
	}
	parsed, problems := reader.Parse(common.NewStringSource(text, "match"))
	if found := problems.GetErrors(); len(found) > 0 {
		return rule{}, invalid(matchField, "this does not read as an expression (column %d: %s); combine the names of criteria with &&, ||, ! and parentheses, such as \"buyers && !recent\"",
			found[0].Location.Column()+1, firstLine(found[0].Message))
	}
	m := matcher{names: names, info: parsed.SourceInfo()}
	return m.read(parsed.Expr())
}

type matcher struct {
	names []string
	info  *ast.SourceInfo
}

func (m matcher) read(e ast.Expr) (rule, error) {
	switch e.Kind() {
	case ast.IdentKind:
		name := e.AsIdent()
		if !slices.Contains(m.names, name) {
			return rule{}, invalid(matchField, "there is no criterion %q (column %d); the criteria are %s", name, m.column(e), strings.Join(m.names, ", "))
		}
		return rule{op: criterion, name: name}, nil
	case ast.CallKind:
		return m.call(e)
	case ast.LiteralKind:
		return rule{}, m.refuse(e, "a literal")
	default:
		return rule{}, m.refuse(e, "this")
	}
}

func (m matcher) call(e ast.Expr) (rule, error) {
	call := e.AsCall()
	ops := map[string]operation{operators.LogicalAnd: every, operators.LogicalOr: either, operators.LogicalNot: not}
	op, known := ops[call.FunctionName()]
	if !known || call.IsMemberFunction() {
		return rule{}, m.refuse(e, spelling(call.FunctionName()))
	}
	out := rule{op: op}
	for _, arg := range call.Args() {
		r, err := m.read(arg)
		if err != nil {
			return rule{}, err
		}
		// a && b && c is one node of three, so that a long chain does not become a deep tree.
		if r.op == op && op != not {
			out.args = append(out.args, r.args...)
			continue
		}
		out.args = append(out.args, r)
	}
	return out, nil
}

func (m matcher) refuse(e ast.Expr, what string) error {
	return invalid(matchField, "%s (column %d) has no place here; only names of criteria (%s), &&, ||, ! and parentheses do", what, m.column(e), strings.Join(m.names, ", "))
}

// column of an expression in match, from 1.
func (m matcher) column(e ast.Expr) int { return m.info.GetStartLocation(e.ID()).Column() + 1 }

func spelling(function string) string {
	if symbol, ok := operators.FindReverse(function); ok && symbol != "" {
		return "operator " + symbol
	}
	return "function " + function
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}
