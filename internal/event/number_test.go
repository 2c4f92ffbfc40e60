package event

import "testing"

func TestReadable(t *testing.T) {
	for _, c := range []struct{ why, in, want string }{
		{"most are left alone", `{"a":1.5e10,"b":[-3,true,null],"c":"e12x"}`, `{"a":1.5e10,"b":[-3,true,null],"c":"e12x"}`},
		{"the last integers of 64 bits", `{"a":18446744073709551615,"b":-9223372036854775808}`, `{"a":18446744073709551615,"b":-9223372036854775808}`},
		{"one more", `{"a":18446744073709551616,"b":-9223372036854775809}`, `{"a":18446744073709551616.0,"b":-9223372036854775809.0}`},
		{"beyond a double", `{"a":1e400,"b":-1E+999}`, `{"a":"1e400","b":"-1E+999"}`},
		{"digits in texts stay", `{"a":"123456789012345678901 1e400"}`, `{"a":"123456789012345678901 1e400"}`},
		{"halves of pairs, in keys too", `{"\ud800":"x\udc00y\ud83d\ude00"}`, `{"\ufffd":"x\ufffdy\ud83d\ude00"}`},
		{"what only looks like one", `{"a":"\\ud800"}`, `{"a":"\\ud800"}`},
		{"a half at the end", `{"a":"\ud83d"}`, `{"a":"\ufffd"}`},
	} {
		if got := readable(c.in); got != c.want {
			t.Errorf("%s: %s became %s, want %s", c.why, c.in, got, c.want)
		}
	}
}
