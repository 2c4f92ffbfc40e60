package event

import (
	"math"
	"strconv"
	"strings"
)

// readable makes valid JSON such that the warehouse's JSON functions can read it: they see a document as empty that has
// an integer beyond 64 bits, a number beyond a double, or half of a surrogate pair (RFC 8259 leaves all three to the
// reader). An integer beyond 64 bits becomes a decimal with the same digits, a number beyond a double a text, and a lone
// surrogate the character U+FFFD. Most texts have none of them: jsonscan.Scanner.Odd tells.
func readable(raw string) string {
	out := make([]byte, 0, len(raw)+16)
	for i := 0; i < len(raw); {
		switch c := raw[i]; {
		case c == '"':
			end := i + 1
			for raw[end] != '"' {
				if raw[end] == '\\' {
					end++
				}
				end++
			}
			out = appendText(out, raw[i:end+1])
			i = end + 1
		case c == '-' || c >= '0' && c <= '9':
			end := i + 1
			for end < len(raw) && strings.IndexByte("0123456789+-.eE", raw[end]) >= 0 {
				end++
			}
			out = appendNumber(out, raw[i:end])
			i = end
		default:
			out = append(out, c)
			i++
		}
	}
	return string(out)
}

func appendNumber(out []byte, number string) []byte {
	if value, err := strconv.ParseFloat(number, 64); err != nil || math.IsInf(value, 0) {
		return append(append(append(out, '"'), number...), '"')
	}
	out = append(out, number...)
	if strings.ContainsAny(number, ".eE") {
		return out
	}
	if _, err := strconv.ParseInt(number, 10, 64); err == nil {
		return out
	}
	if _, err := strconv.ParseUint(number, 10, 64); err == nil {
		return out
	}
	return append(out, ".0"...)
}

// appendText writes a JSON text; lone surrogates are replaced.
func appendText(out []byte, text string) []byte {
	for i := 0; i < len(text); {
		if text[i] != '\\' {
			out = append(out, text[i])
			i++
			continue
		}
		if text[i+1] != 'u' {
			out = append(out, text[i:i+2]...)
			i += 2
			continue
		}
		unit := text[i : i+6]
		switch {
		case isHigh(unit) && i+12 <= len(text) && isLow(text[i+6:i+12]):
			out = append(out, text[i:i+12]...)
			i += 12
			continue
		case isHigh(unit) || isLow(unit):
			unit = `\ufffd`
		}
		out = append(out, unit...)
		i += 6
	}
	return out
}

func isHigh(unit string) bool { u := codeUnit(unit); return u >= 0xD800 && u < 0xDC00 }

func isLow(unit string) bool { u := codeUnit(unit); return u >= 0xDC00 && u < 0xE000 }

// codeUnit of \uXXXX, 0 for anything else.
func codeUnit(unit string) uint64 {
	if !strings.HasPrefix(unit, `\u`) {
		return 0
	}
	u, err := strconv.ParseUint(unit[2:], 16, 16)
	if err != nil {
		return 0
	}
	return u
}
