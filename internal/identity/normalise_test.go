package identity

import "testing"

func TestNormalise(t *testing.T) {
	person := Rule{Type: "person", Compose: []string{"firstName", "lastName", "birthDate"}}
	for _, c := range []struct {
		rule        Rule
		value, want string
	}{
		{Rule{Normalize: Exact}, " Ab ", "Ab"},
		{Rule{Normalize: Lowercase}, "ÄB", "äb"},
		{Rule{Normalize: Digits}, "12-34 / 5", "12345"},
		{Rule{Normalize: Digits}, "no digit", ""},
		{Rule{Normalize: Email}, " Ada.L+x@GMail.com", "ada.l+x@gmail.com"},
		{Rule{Normalize: Email}, "ada", ""},
		{Rule{Normalize: Mailbox}, "A.d.a+news@googlemail.com", "ada@gmail.com"},
		{Rule{Normalize: Mailbox}, "a.da+news@example.org", "a.da+news@example.org"},
		{Rule{Normalize: Mailbox}, "+x@gmail.com", ""},
		{Rule{Normalize: Phone}, "+49 (30) 123-4567", "+49301234567"},
		{Rule{Normalize: Phone}, "030 1234567", ""},
		{Rule{Normalize: Phone, Region: "DE"}, "030 1234567", "+49301234567"},
		{Rule{Normalize: Phone, Region: "DE"}, "0044 20 7946 0958", "+442079460958"},
		{Rule{Normalize: Phone, Region: "DE"}, "12", ""},
		{Rule{Normalize: Phone, Region: "DE"}, "call me", ""},
		{Rule{Normalize: Phone, Region: "DE", Blocked: []string{"030 1234567"}}, "+49301234567", ""},
		{Rule{Normalize: Exact, Blocked: []string{"test"}}, "test", ""},
		{Rule{Normalize: Exact, Blocked: []string{"test"}}, "Test", "Test"},
		{Rule{Normalize: Lowercase, Blocked: []string{"TEST"}}, "Test", ""},
		{person, "José|Müller-Lüdenscheidt|1815-12-10", "jose|mullerludenscheidt|18151210"},
		{person, "Jose |MULLER LUDENSCHEIDT|18151210", "jose|mullerludenscheidt|18151210"},
		{person, "Jose||18151210", ""},
		{person, "Jose|null|18151210", ""},
		{person, "Jose|1815", ""},
	} {
		if got := c.rule.Normalise(c.value); got != c.want {
			t.Errorf("%s %v of %q is %q, want %q", c.rule.Normalize, c.rule.Compose, c.value, got, c.want)
		}
		if again := c.rule.Normalise(c.want); again != c.want {
			t.Errorf("%s of %q is %q: not stable", c.rule.Normalize, c.want, again)
		}
	}
}
