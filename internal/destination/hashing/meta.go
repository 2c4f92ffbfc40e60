package hashing

import (
	"regexp"
	"strings"
	"unicode"
)

// Meta gives the rules of a Custom Audience by key of its schema:
// https://developers.facebook.com/docs/marketing-api/audiences/guides/custom-audiences#hash
func Meta() map[string]Rule {
	return map[string]Rule{
		"EMAIL": hash(metaEmail), "PHONE": hash(international), "MADID": device, "EXTERN_ID": plain,
		"GEN": hash(gender), "DOBY": hash(shaped(`^(19|20)\d\d$`)), "DOBM": hash(twoDigits(12)), "DOBD": hash(twoDigits(31)),
		"FN": hash(name), "LN": hash(name), "FI": hash(initial), "CT": hash(place), "ST": hash(place),
		"ZIP": hash(zip), "COUNTRY": hash(country),
	}
}

// metaEmail keeps dots and what follows a plus: to Meta they are other addresses.
func metaEmail(value string) (string, bool) {
	text := strings.ToLower(strings.TrimSpace(value))
	return text, isAddress(text)
}

// device is an advertising id: not hashed, in lower case, with its hyphens. The one of zeros means that tracking is off.
func device(value string) (string, bool) {
	text := strings.ToLower(strings.TrimSpace(value))
	return text, uuidLike.MatchString(text) && strings.Trim(text, "0-") != ""
}

var uuidLike = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

func plain(value string) (string, bool) {
	text := strings.TrimSpace(value)
	return text, text != ""
}

func gender(value string) (string, bool) {
	switch strings.ToLower(strings.TrimSpace(value)) {
	case "m", "male":
		return "m", true
	case "f", "female":
		return "f", true
	}
	return "", false // Meta knows no other; to pass one through would make a hash that matches nobody
}

func shaped(pattern string) Rule {
	shape := regexp.MustCompile(pattern)
	return func(value string) (string, bool) {
		text := strings.TrimSpace(value)
		return text, shape.MatchString(text)
	}
}

// twoDigits is a month or a day: 7 is written 07.
func twoDigits(last int) Rule {
	return func(value string) (string, bool) {
		text := strings.TrimSpace(value)
		if len(text) == 1 {
			text = "0" + text
		}
		if len(text) != 2 || text[0] < '0' || text[0] > '9' || text[1] < '0' || text[1] > '9' {
			return "", false
		}
		number := int(text[0]-'0')*10 + int(text[1]-'0')
		return text, number >= 1 && number <= last
	}
}

var withoutPunctuation = without(unicode.IsPunct)

// name keeps letters of every script, in UTF-8.
func name(value string) (string, bool) {
	text := strings.TrimSpace(withoutPunctuation(strings.ToLower(value)))
	return text, text != ""
}

func initial(value string) (string, bool) {
	text, ok := name(value)
	for _, first := range text {
		return string(first), ok
	}
	return "", false
}

var withoutPunctuationOrSpace = without(func(r rune) bool { return unicode.IsPunct(r) || unicode.IsSpace(r) })

func place(value string) (string, bool) {
	text := withoutPunctuationOrSpace(strings.ToLower(value))
	return text, text != ""
}

var (
	zipPlusFour = regexp.MustCompile(`^\d{5}-?\d{4}$`)
	withoutGaps = without(unicode.IsSpace)
)

// zip is trimmed before it is cut: a leading space must not cost the last digit. Of ZIP+4 the first five count.
func zip(value string) (string, bool) {
	text := withoutGaps(strings.ToLower(value))
	if zipPlusFour.MatchString(text) {
		text = text[:5]
	}
	text = strings.ReplaceAll(text, "-", "")
	return text, text != ""
}

func country(value string) (string, bool) {
	text := strings.ToLower(strings.TrimSpace(value))
	return text, len(text) == 2 && text[0] >= 'a' && text[0] <= 'z' && text[1] >= 'a' && text[1] <= 'z'
}
