package audience

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kohort.dev/kohort/api/v1alpha1"
)

func audienceOf(name string, match string, criteria ...v1alpha1.Criterion) *v1alpha1.Audience {
	return &v1alpha1.Audience{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "crm", Generation: 1},
		Spec:       v1alpha1.AudienceSpec{PlatformRef: v1alpha1.LocalReference{Name: "shop"}, Criteria: criteria, Match: match},
	}
}

func did(name string) v1alpha1.Criterion {
	return v1alpha1.Criterion{Name: name, Event: &v1alpha1.EventCriterion{Name: "Order Completed"}}
}

func atMost(name string, n int64) v1alpha1.Criterion {
	return v1alpha1.Criterion{Name: name, Event: &v1alpha1.EventCriterion{Name: "Order Completed", Count: &v1alpha1.Count{Max: &n}}}
}

func has(name string, operator v1alpha1.Operator, values ...string) v1alpha1.Criterion {
	return v1alpha1.Criterion{Name: name, Trait: &v1alpha1.TraitCriterion{Name: "plan", Operator: operator, Values: raw(values...)}}
}

func member(name, of string) v1alpha1.Criterion {
	return v1alpha1.Criterion{Name: name, Audience: &v1alpha1.LocalReference{Name: of}}
}

func raw(values ...string) []apiextensionsv1.JSON {
	var out []apiextensionsv1.JSON
	for _, value := range values {
		out = append(out, apiextensionsv1.JSON{Raw: []byte(value)})
	}
	return out
}

func within(c v1alpha1.Criterion, d v1alpha1.Duration) v1alpha1.Criterion {
	c.Event.Within = d
	return c
}

func filtered(c v1alpha1.Criterion, property string, operator v1alpha1.Operator, values ...string) v1alpha1.Criterion {
	c.Event.Where = append(c.Event.Where, v1alpha1.PropertyCondition{Property: property, Operator: operator, Values: raw(values...)})
	return c
}

func sampled(name string, percent int32) v1alpha1.Criterion {
	return v1alpha1.Criterion{Name: name, Sample: &v1alpha1.SampleCriterion{Percent: percent}}
}

func oneAfterTheOther(name string, window v1alpha1.Duration, events ...string) v1alpha1.Criterion {
	s := &v1alpha1.SequenceCriterion{Window: window}
	for _, event := range events {
		s.Steps = append(s.Steps, v1alpha1.SequenceStep{Name: event})
	}
	return v1alpha1.Criterion{Name: name, Sequence: s}
}

func during(name string, from, to v1alpha1.Moment) v1alpha1.Criterion {
	c := did(name)
	c.Event.Between = &v1alpha1.Between{From: from, To: to}
	return c
}

func summed(c v1alpha1.Criterion, function v1alpha1.AggregateFunction, value string) v1alpha1.Criterion {
	c.Event.Aggregate = &v1alpha1.Aggregate{Function: function, Property: "total", Operator: v1alpha1.OperatorAtLeast, Value: raw(value)[0]}
	return c
}

func TestValidate(t *testing.T) {
	elsewhere := audienceOf("elsewhere", "", did("a"))
	elsewhere.Spec.PlatformRef.Name = "other"
	known := map[string]*v1alpha1.Audience{
		"buyers":    audienceOf("buyers", "", did("a")),
		"elsewhere": elsewhere,
		"one":       audienceOf("one", "", member("m", "two")),
		"two":       audienceOf("two", "", member("m", "three")),
		"three":     audienceOf("three", "", member("m", "one")),
		"apart":     audienceOf("apart", "", member("m", "one")),
		"broken":    audienceOf("broken", "nonsense(", did("a")),
	}
	for i := range 20 { // d0 asks for nobody, d1 for d0, d2 for d1 …
		known[fmt.Sprintf("d%d", i)] = audienceOf(fmt.Sprintf("d%d", i), "", member("m", fmt.Sprintf("d%d", i-1)))
	}
	known["d0"] = audienceOf("d0", "", did("a"))
	cases := []struct {
		why      string
		audience *v1alpha1.Audience
		reason   string   // empty: valid
		says     []string // parts of the message
	}{
		{"the smallest audience", audienceOf("x", "", did("a")), "", nil},
		{"the example of the API", audienceOf("x", "buyers && !recent && (fr || de)", did("buyers"), within(did("recent"), "30d"), has("fr", "Equals", `"fr"`), has("de", "Equals", `"de"`)), "", nil},
		{"names that hold a letter that CEL treats specially", audienceOf("x", "a_1 && B", did("a_1"), did("B")), "", nil},
		{"an audience that is there", audienceOf("x", "", member("m", "buyers")), "", nil},
		{"an invalid audience still has the members it had", audienceOf("x", "", member("m", "broken")), "", nil},
		{"a circle that this audience is not part of harms those in it only", audienceOf("x", "", member("m", "one")), "", nil},
		{"a long chain is flat, not deep", audienceOf("x", strings.TrimSuffix(strings.Repeat("a && ", 500), " && "), did("a")), "", nil},
		{"true for nobody is not negative", audienceOf("x", "a && !a", did("a")), "", nil},

		{"match names what is not there", audienceOf("x", "buyers && recnt", did("buyers"), did("recent")), "InvalidSpec", []string{"spec.match", `"recnt"`, "column 11", "buyers, recent"}},
		{"a literal decides nothing about a customer", audienceOf("x", "a || true", did("a")), "InvalidSpec", []string{"spec.match", "literal", "column 6"}},
		{"CEL knows more than rules may use", audienceOf("x", "a == b", did("a"), did("b")), "InvalidSpec", []string{"operator ==", "&&, ||, !"}},
		{"functions", audienceOf("x", "size(a)", did("a")), "InvalidSpec", []string{"function size"}},
		{"macros", audienceOf("x", "[a].all(x, x)", did("a")), "InvalidSpec", []string{"spec.match"}},
		{"the ternary operator", audienceOf("x", "a ? b : a", did("a"), did("b")), "InvalidSpec", []string{"spec.match"}},
		{"fields of names", audienceOf("x", "a.b", did("a")), "InvalidSpec", []string{"spec.match"}},
		{"an unfinished expression", audienceOf("x", "a && (b", did("a"), did("b")), "InvalidSpec", []string{"spec.match", "does not read as an expression"}},
		{"words instead of operators", audienceOf("x", "a and b", did("a"), did("b")), "InvalidSpec", []string{"spec.match", "column"}},
		{"nesting without end", audienceOf("x", strings.Repeat("(", 300)+"a"+strings.Repeat(")", 300), did("a")), "InvalidSpec", []string{"spec.match"}},

		{"never bought: also everybody never seen", audienceOf("x", "", atMost("a", 0)), "InvalidSpec", []string{"spec.criteria", "never seen"}},
		{"at most five", audienceOf("x", "", atMost("a", 5)), "InvalidSpec", []string{"never seen"}},
		{"no trait", audienceOf("x", "", has("a", "NotExists")), "InvalidSpec", []string{"never seen"}},
		{"another trait", audienceOf("x", "", has("a", "NotEquals", `"pro"`)), "InvalidSpec", []string{"never seen"}},
		{"negated in match", audienceOf("x", "!buyers", did("buyers")), "InvalidSpec", []string{"spec.match", "never seen"}},
		{"one branch is enough", audienceOf("x", "a || !b", did("a"), did("b")), "InvalidSpec", []string{"spec.match"}},
		{"not in another audience", audienceOf("x", "!m", member("m", "buyers")), "InvalidSpec", []string{"never seen"}},
		{"a negative criterion beside a positive one", audienceOf("x", "a && b", did("a"), atMost("b", 0)), "", nil},
		{"a doubly negated one", audienceOf("x", "!never", atMost("never", 0)), "", nil},

		{"an unknown audience", audienceOf("x", "", member("m", "nobody")), "AudienceNotFound", []string{"spec.criteria[m].audience.name", `"nobody"`, "crm"}},
		{"an audience of another Platform", audienceOf("x", "", member("m", "elsewhere")), "InvalidSpec", []string{`"other"`, `"shop"`}},
		{"itself", audienceOf("x", "", member("m", "x")), "InvalidSpec", []string{"its own members"}},
		{"a circle says its way", known["one"], "InvalidSpec", []string{"one -> two -> three -> one"}},

		{"audiences upon audiences", known["d16"], "", nil},
		{"without end", known["d17"], "InvalidSpec", []string{"16 deep", "write the criteria out"}},

		{"a list is no value", audienceOf("x", "", has("a", "Equals", `["pro"]`)), "InvalidSpec", []string{"spec.criteria[a].trait.values[0]", "list"}},
		{"null is no value", audienceOf("x", "", has("a", "Equals", `"pro"`, `null`)), "InvalidSpec", []string{"values[1]", "NotExists"}},
		{"no values", audienceOf("x", "", has("a", "Equals")), "InvalidSpec", []string{"at least one value"}},
		{"values with Exists", audienceOf("x", "", has("a", "Exists", `1`)), "InvalidSpec", []string{"takes no values"}},
		{"texts have no order here", audienceOf("x", "", has("a", "AtLeast", `"10"`)), "InvalidSpec", []string{"values", "exactly one number"}},
		{"two bounds", audienceOf("x", "", has("a", "AtLeast", `1`, `2`)), "InvalidSpec", []string{"exactly one number"}},
		{"a number in a text", audienceOf("x", "", has("a", "StartsWith", `49`)), "InvalidSpec", []string{"quotes"}},
		{"the empty text is in every text", audienceOf("x", "", has("a", "Contains", `""`)), "InvalidSpec", []string{"Exists"}},
		{"an id that floating point cannot hold", audienceOf("x", "", has("a", "Equals", `9007199254740993`)), "InvalidSpec", []string{"2^53", "text"}},
		{"a number without end", audienceOf("x", "", has("a", "Equals", `1e999`)), "InvalidSpec", []string{"64-bit"}},
		{"an unknown operator", audienceOf("x", "", has("a", "Like", `1`)), "InvalidSpec", []string{"operator", `"Like"`}},
		{"a bad duration", audienceOf("x", "", within(did("a"), "1 week")), "InvalidSpec", []string{"spec.criteria[a].event.within", "90d"}},
		{"a window of no length", audienceOf("x", "", within(did("a"), "0d")), "InvalidSpec", []string{"within", "for ever"}},
		{"an empty part of a path", audienceOf("x", "", filtered(did("a"), "cart..total", "Exists")), "InvalidSpec", []string{"where[0].property", "cart..total"}},
		{"a bad condition in where", audienceOf("x", "", filtered(did("a"), "total", "AtMost", `true`)), "InvalidSpec", []string{"spec.criteria[a].event.where[0].values"}},
		{"min over max", audienceOf("x", "", v1alpha1.Criterion{Name: "a", Event: &v1alpha1.EventCriterion{Name: "e", Count: &v1alpha1.Count{Min: new(int64(3)), Max: new(int64(2))}}}), "InvalidSpec", []string{"count"}},
		{"two criteria of one name", audienceOf("x", "", did("a"), did("a")), "InvalidSpec", []string{"criteria[a]", "rename"}},
		{"a criterion that asks nothing", audienceOf("x", "", v1alpha1.Criterion{Name: "a"}), "InvalidSpec", []string{"exactly one"}},
		{"a criterion that asks two things", audienceOf("x", "", v1alpha1.Criterion{Name: "a", Event: did("a").Event, Audience: &v1alpha1.LocalReference{Name: "buyers"}}), "InvalidSpec", []string{"exactly one"}},

		{"a sample beside something positive", audienceOf("x", "a && s", did("a"), sampled("s", 10)), "", nil},
		{"a sample alone is a part of everybody never seen", audienceOf("x", "", sampled("s", 10)), "InvalidSpec", []string{"spec.criteria", "sample"}},
		{"all but a sample", audienceOf("x", "!s", sampled("s", 10)), "InvalidSpec", []string{"spec.match", "sample"}},
		{"a sample of nobody", audienceOf("x", "a && s", did("a"), sampled("s", 0)), "InvalidSpec", []string{"spec.criteria[s].sample.percent", "1 to 99"}},
		{"one step is an event", audienceOf("x", "", oneAfterTheOther("s", "1h", "a")), "InvalidSpec", []string{"spec.criteria[s].sequence.steps", "event criterion"}},
		{"a bad window", audienceOf("x", "", oneAfterTheOther("s", "soon", "a", "b")), "InvalidSpec", []string{"spec.criteria[s].sequence.window"}},
		{"two steps", audienceOf("x", "", oneAfterTheOther("s", "1h", "a", "b")), "", nil},
		{"a list of what are no ids", audienceOf("x", "", v1alpha1.Criterion{Name: "m", Members: &v1alpha1.MembersCriterion{IDs: []string{"ada@example.com"}}}), "InvalidSpec", []string{"members.ids[0]", "kohort profile get"}},
		{"ages the wrong way round", audienceOf("x", "", during("a", "30d", "90d")), "InvalidSpec", []string{"spec.criteria[a].event.between", "exchange"}},
		{"dates the wrong way round", audienceOf("x", "", during("a", "2026-02-01", "2026-01-01")), "InvalidSpec", []string{"between", "exchange"}},
		{"neither date nor age", audienceOf("x", "", during("a", "last week", "")), "InvalidSpec", []string{"between.from", "last week", "90d"}},
		{"a day that is not in the calendar", audienceOf("x", "", during("a", "2026-02-30", "")), "InvalidSpec", []string{"between.from"}},
		{"a date and an age", audienceOf("x", "", during("a", "2026-01-01", "30d")), "", nil},
		{"a date in another way", audienceOf("x", "", has("a", "Before", `"31.1.2026"`)), "InvalidSpec", []string{"values", "2026-01-31"}},
		{"two moments", audienceOf("x", "", has("a", "After", `"2026-01-31"`, `"2026-02-01"`)), "InvalidSpec", []string{"exactly one value"}},
		{"a distance that is a date", audienceOf("x", "", has("a", "WithinLast", `"2026-01-31"`)), "InvalidSpec", []string{"no duration"}},
		{"a regular expression", audienceOf("x", "", has("a", "Matches", `"^pro|team$"`)), "", nil},
		{"one that is none", audienceOf("x", "", has("a", "Matches", `"(pro"`)), "InvalidSpec", []string{"values", "RE2"}},
		{"one with look-around, which is not linear", audienceOf("x", "", has("a", "Matches", `"(?=a)b"`)), "InvalidSpec", []string{"RE2"}},
		{"an aggregate of nothing", audienceOf("x", "a && b", did("a"), summed(atMost("b", 0), "Sum", `1`)), "InvalidSpec", []string{"spec.criteria[b].event.aggregate", "count.max"}},
		{"an aggregate with a text", audienceOf("x", "", summed(did("a"), "Sum", `"1"`)), "InvalidSpec", []string{"event.aggregate.value", "number"}},
		{"an unknown function", audienceOf("x", "", summed(did("a"), "Median", `1`)), "InvalidSpec", []string{"aggregate.function", "Median"}},
		{"an aggregate is positive, for nobody has a sum of nothing", audienceOf("x", "", summed(atMost("a", 5), "Sum", `-1`)), "", nil},
		{"no criteria", audienceOf("x", ""), "InvalidSpec", []string{"spec.criteria"}},
	}
	for _, c := range cases {
		t.Run(c.why, func(t *testing.T) {
			err := Validate(c.audience, known)
			if c.reason == "" {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			var problem *Invalid
			if !errors.As(err, &problem) {
				t.Fatalf("got %v, want an *Invalid", err)
			}
			if problem.Reason != c.reason {
				t.Errorf("reason %s, want %s", problem.Reason, c.reason)
			}
			for _, part := range c.says {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("message %q does not say %q", err, part)
				}
			}
		})
	}
}
