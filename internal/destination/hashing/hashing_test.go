package hashing

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
)

func of(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// What the platforms themselves publish: a value, and what it has to become.
func TestPublished(t *testing.T) {
	for _, c := range []struct{ source, key, in, want string }{
		// https://developers.facebook.com/docs/marketing-api/conversions-api/parameters/customer-information-parameters
		{"meta", "EMAIL", "John_Smith@gmail.com", "62a14e44f765419d10fea99367361a727c12365e2520f32218d505ed9aa0f62f"},
		{"meta", "PHONE", "1(650)555-1212", "e323ec626319ca94ee8bff2e4c87cf613be6ea19919ed1364124e16807ab3176"},
		{"meta", "FN", "Mary", "6915771be1c5aa0c886870b6951b03d7eafc121fea0e80a5ea83beb7c449f4ec"},
		{"meta", "FN", "정", "8fa8cd9c440be61d0151429310034083132b35975c4bea67fdd74158eb51db14"},
		{"meta", "FN", "Valéry", "08e1996b5dd49e62a4b4c010d44e4345592a863bb9f8e3976219bac29417149c"},
		// https://developers.google.com/data-manager/api/devguides/audiences/send-audience-members
		{"google", "emailAddress", "dana@example.com", "07e2f1394b0ea80e2adca010ea8318df697001a005ba7452720edda4b0ce57b3"},
		{"google", "emailAddress", "DanaM@example.com", "1df6b43bc68dd38eca94e6a65b4f466ae537b796c81a526918b40ac4a7b906c7"},
		{"google", "emailAddress", "ALEXF@example.com", "19de0a9906ebee29fe82087be5ec44f3c01e40730bc808b663c71f19dd6b12f2"},
		{"google", "emailAddress", "AlexF@cymbalgroup.com", "7d2d80e240594dcee2e57f57885ee286c4b232dd142234d7a0af6d31cc86679b"},
		{"google", "emailAddress", "alexF@altostrat.com", "063c45291827d4994f98357b72862b25885834fd53cf8f0e4af359916fc03c62"},
		{"google", "emailAddress", "quinn@CYMBALGROUP.com", "05bb62526f091b45d20e243d194766cca8869137421047dc53fa4876d111a6f0"},
		{"google", "emailAddress", "baklavainthebalkans@gmail.com", "f1fcde379f31f4d446b76ee8f34860eca2288adc6b6d6c0fdc56d9eee75a2fa5"},
		{"google", "emailAddress", "rosario@example.org", "83a834cc5327bc4dee7c5408988040dc5813c7662611cd93b707aff72bf7d33f"},
		{"google", "emailAddress", "cloudySanFrancisco@GMAIL.com", "223ebda6f6889b1494551ba902d9d381daf2f642bae055888e96343d53e9f9c4"},
		{"google", "phoneNumber", "+1-800-555-0100", "fb4f73a6ec5fdb7077d564cdd22c3554b43ce49168550c3b12c547b78c517b30"},
		{"google", "phoneNumber", "+1 800-555-0101", "61d6c2976b5d92b1ad63073a12fddd26040cd980067d03a93dd1cc50f1a3ac68"},
		{"google", "phoneNumber", "+1 800-555-0102", "c5383c2eeada28210d27f011bc127d4f9562cf38ff0c9bba33dd45ae79b9fe7c"},
		{"google", "phoneNumber", "+1-800-555-0110", "525c2390a4e2a9766fa8ddc341dd10414603baebefa401f5a5e29f55e176525d"},
		// https://developers.google.com/data-manager/api/devguides/concepts/formatting
		{"google", "emailAddress", "cloudy.sanfrancisco+shopping@gmail.com", "223ebda6f6889b1494551ba902d9d381daf2f642bae055888e96343d53e9f9c4"},
		{"google", "emailAddress", "user.name+NYC@Example.com", of("user.name+nyc@example.com")},
	} {
		rules := map[string]map[string]Rule{"meta": Meta(), "google": Google()}[c.source]
		if got, ok := rules[c.key](c.in); !ok || got != c.want {
			t.Errorf("%s %s %q gives %q, %t", c.source, c.key, c.in, got, ok)
		}
	}
}

// The traps that others fell into, and values that are none.
func TestRules(t *testing.T) {
	const known = "b4c9a289323b21a01c3e940f150eb9b8c542587f1abfd8f0e1cc1ffc5e475514" // SHA-256 of user@example.com
	meta, google := Meta(), Google()
	for _, c := range []struct {
		why, platform, key, in, want string // want is empty when the value is unusable
	}{
		{"blanks around it and capitals do not count", "meta", "EMAIL", " User@Example.com\t", known},
		{"for Google blanks within it neither", "google", "emailAddress", "User @Example.com ", known},
		{"what is hashed already is not hashed again", "meta", "EMAIL", known, known},
		{"in lower case, which the platforms compare in", "google", "emailAddress", strings.ToUpper(known), known},
		{"also a phone number", "meta", "PHONE", of("15551234567"), of("15551234567")},
		{"Meta keeps dots and plus of a gmail address", "meta", "EMAIL", "A.B.C+x@gmail.com", of("a.b.c+x@gmail.com")},
		{"Google drops every dot and not only the first", "google", "emailAddress", "Cloudy.San.Francisco@GMAIL.com", of("cloudysanfrancisco@gmail.com")},
		{"also at its other domain", "google", "emailAddress", "a.b@googlemail.com", of("ab@googlemail.com")},
		{"and only at its own", "google", "emailAddress", "a.b@example.com", of("a.b@example.com")},
		{"a text without @ is no address", "meta", "EMAIL", "ada", ""},
		{"nor one without a name", "google", "emailAddress", "@gmail.com", ""},
		{"a tag is not the mailbox's name", "google", "emailAddress", "a.b+c+d@googlemail.com", of("ab@googlemail.com")},
		{"and a tag alone is none", "google", "emailAddress", "+only@gmail.com", ""},
		{"a name keeps what is within it", "google", "familyName", " O'Neil Jones ", of("o'neil jones")},
		{"a country is not hashed", "google", "regionCode", " us ", "US"},
		{"nor is a postal code", "google", "postalCode", " 94025 ", "94025"},
		{"nor one of dots alone", "google", "emailAddress", "...@gmail.com", ""},
		{"nor one with two", "meta", "EMAIL", "a@b@c", ""},
		{"nothing is nothing, and not the hash of nothing", "meta", "EMAIL", "  ", ""},
		{"Meta takes digits alone", "meta", "PHONE", "+1 (555) 123-4567", of("15551234567")},
		{"Google takes E.164 with the plus", "google", "phoneNumber", "+1 (555) 123-4567", of("+15551234567")},
		{"00 is how a plus is dialled", "google", "phoneNumber", "0049 170 1234567", of("+491701234567")},
		{"a number with country code and no plus", "google", "phoneNumber", "491701234567", of("+491701234567")},
		{"a number as dialled within a country would be someone else's", "meta", "PHONE", "0170 1234567", ""},
		{"zeros alone are no number, and fail no batch", "meta", "PHONE", "+0000000000", ""},
		{"nor are they for Google", "google", "phoneNumber", "+0000000000", ""},
		{"too long", "meta", "PHONE", "+1234567890123456", ""},
		{"an extension is not dialled", "meta", "PHONE", "+15551234567 ext 12", ""},
		{"a device id is not hashed, lower case, with hyphens", "meta", "MADID", "AEBE52E7-03EE-455A-B3C4-E57283966239", "aebe52e7-03ee-455a-b3c4-e57283966239"},
		{"the id of those who refused tracking", "meta", "MADID", "00000000-0000-0000-0000-000000000000", ""},
		{"your own id goes as it is", "meta", "EXTERN_ID", " u1 ", "u1"},
		{"names lose punctuation and keep their letters", "meta", "FN", " D'Arcy-Zoë ", of("darcyzoë")},
		{"other scripts too", "meta", "LN", "정", of("정")},
		{"an initial", "meta", "FI", "Émile", of("é")},
		{"a city has no spaces", "meta", "CT", "St. Louis", of("stlouis")},
		{"a state", "meta", "ST", "CA", of("ca")},
		{"ZIP+4 is trimmed, then cut", "meta", "ZIP", " 94025-1234", of("94025")},
		{"a British one is whole", "meta", "ZIP", "SW1A 1AA", of("sw1a1aa")},
		{"a country of two letters", "meta", "COUNTRY", "US", of("us")},
		{"a country's name is none", "meta", "COUNTRY", "Germany", ""},
		{"a word for a gender", "meta", "GEN", "Female", of("f")},
		{"a gender that Meta does not know is left out", "meta", "GEN", "x", ""},
		{"a year", "meta", "DOBY", "1986", of("1986")},
		{"a year of two digits is none", "meta", "DOBY", "86", ""},
		{"a month has two digits", "meta", "DOBM", "7", of("07")},
		{"there is no month 13", "meta", "DOBM", "13", ""},
		{"nor a day 0", "meta", "DOBD", "0", ""},
	} {
		rules := meta
		if c.platform == "google" {
			rules = google
		}
		got, ok := rules[c.key](c.in)
		if ok != (c.want != "") || ok && got != c.want {
			t.Errorf("%s: %s %q gives %q, %t", c.why, c.key, c.in, got, ok)
		}
	}
}

var plainKeys = map[string]bool{"EXTERN_ID": true, "MADID": true, "regionCode": true, "postalCode": true}

func FuzzRules(f *testing.F) {
	f.Add("a@b.c")
	f.Add("+49 170")
	f.Fuzz(func(t *testing.T, value string) {
		for _, rules := range []map[string]Rule{Meta(), Google()} {
			for key, rule := range rules {
				got, ok := rule(value)
				if ok && got == "" || ok && !plainKeys[key] && !hashed.MatchString(got) {
					t.Fatalf("%s of %q gives %q", key, value, got)
				}
			}
		}
	})
}
