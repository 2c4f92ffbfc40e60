package audience

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kohort.dev/kohort/api/v1alpha1"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 999_999, time.UTC)

func TestCompileSharesWhatAudiencesAskAlike(t *testing.T) {
	often := within(did("often"), "30d")
	often.Event.Count = &v1alpha1.Count{Min: new(int64(3))}
	plan, err := Compile([]*v1alpha1.Audience{
		audienceOf("a", "", within(did("once"), "30d"), has("pro", "Equals", `"pro"`, `"team"`)),
		audienceOf("b", "often && !free", often, has("free", "NotEquals", `"team"`, `"pro"`, `"pro"`)),
	}, noon)
	if err != nil {
		t.Fatal(err)
	}
	statement := plan.Members(Bucket{})
	for _, c := range []struct {
		why, text string
		times     int
	}{
		{"one count serves two minimums", "countIf(", 1},
		{"a condition and its opposite are computed once, whatever the order of values", "IN ('pro', 'team')", 1},
		{"one pass over an event", "FROM events", 1},
		{"one scan of traits", "FROM traits", 1},
		{"nobody asks for a stored audience", "FROM memberships", 0},
		{"the moment is a whole millisecond", "1795435200000", 1},
	} {
		if got := strings.Count(statement, c.text); got != c.times {
			t.Errorf("%s: %q stands %d times, want %d\n%s", c.why, c.text, got, c.times, statement)
		}
	}
}

func TestCompileOrdersByReference(t *testing.T) {
	plan, err := Compile([]*v1alpha1.Audience{
		audienceOf("a", "", member("m", "z")),
		audienceOf("m", "", did("x")),
		audienceOf("z", "", member("m", "m"), member("n", "absent")),
	}, noon)
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, a := range plan.Audiences {
		order = append(order, a.Name)
	}
	if diff := cmp.Diff([]string{"m", "z", "a"}, order); diff != "" {
		t.Errorf("an audience must stand after those it asks for (-want +got):\n%s", diff)
	}
	if !strings.Contains(plan.Members(Bucket{}), "audience IN ('absent')") {
		t.Error("an audience that is not due must be answered by its stored members")
	}
}

func TestCompileRefusesWhatValidateWould(t *testing.T) {
	for why, due := range map[string][]*v1alpha1.Audience{
		"a circle": {audienceOf("a", "", member("m", "b")), audienceOf("b", "", member("m", "a"))},
		"negative": {audienceOf("a", "!x", did("x"))},
	} {
		if _, err := Compile(due, noon); err == nil {
			t.Errorf("%s: compiled", why)
		}
	}
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{
		`plain`:       `'plain'`,
		`it's`:        `'it\'s'`,
		`\'`:          `'\\\''`,
		"nul\x00":     `'nul\0'`,
		"line\nbreak": "'line\nbreak'",
		"🦄":           `'🦄'`,
	} {
		if got := Quote(in); got != want {
			t.Errorf("Quote(%q) = %s, want %s", in, got, want)
		}
	}
}

func TestDefinitionIsTheRuleAlone(t *testing.T) {
	a, b := audienceOf("a", "x", did("x")), audienceOf("a", "x", did("x"))
	b.Spec.Description, b.Spec.Suspend, b.Spec.Evaluation.Every = "words", true, "5m"
	b.Spec.Destinations = []v1alpha1.AudienceDestination{{Name: "mailer"}}
	if Definition(a) != Definition(b) {
		t.Error("what happens to the members afterwards must not make a new revision")
	}
	b.Spec.Criteria[0].Event = &v1alpha1.EventCriterion{Name: "Order Refunded"}
	if Definition(a) == Definition(b) {
		t.Error("another criterion is another definition")
	}
}
