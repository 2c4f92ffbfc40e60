package event

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// What the scan does not find odd has nothing that would have to be changed, and it does not find everything odd.
func TestOnlyOddTextsAreChanged(t *testing.T) {
	for _, plain := range []string{
		`{"id":"000000000000000000000000000001","é":"\u00e9\n","a":123456789012345678,"b":-1.5e-10,"c":[1e+99,0,-0]}`, `"12345678901234567890"`,
	} {
		if text, odd, err := check(plain); err != nil || odd || text != plain {
			t.Errorf("%s: odd %v, %v", plain, odd, err)
		}
	}
	for _, text := range []string{`1234567890123456789`, `1e400`, `-1E+999`, `"\uD800"`, `{"a":["\udfff"]}`} {
		if _, odd, err := check(text); err != nil || !odd {
			t.Errorf("%s: odd %v, %v", text, odd, err)
		}
	}
	pieces := rapid.SampledFrom([]string{"0", "1", "9", "12345678", "99999999999", ".", "e", "E", "+", "-", `\u`, "d8", "DC", "00", "dead", "x", `\"`, " ", ",", "[", "]", `"`})
	rapid.Check(t, func(t *rapid.T) {
		raw := strings.Join(rapid.SliceOfN(pieces, 1, 12).Draw(t, "text"), "")
		if rapid.Bool().Draw(t, "quoted") {
			raw = `"` + raw + `"`
		}
		if _, odd, err := check(raw); err == nil && !odd && readable(raw) != raw {
			t.Fatalf("%s would become %s", raw, readable(raw))
		}
	})
}
