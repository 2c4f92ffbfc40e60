package chdb

import (
	"regexp"
	"strconv"
	"strings"
)

// Exception is an error of the engine.
type Exception struct {
	Code    int    // ClickHouse's error code, such as 60; 0 when the text has none
	Message string // the engine's whole text: "Code: 60. DB::Exception: … (UNKNOWN_TABLE)"
}

// Error returns the engine's text.
func (e *Exception) Error() string { return e.Message }

var codePattern = regexp.MustCompile(`Code:\s*(\d+)\.`)

// ParseException reads the code out of an exception's text.
func ParseException(text string) *Exception {
	text = strings.TrimSpace(text)
	e := &Exception{Message: text}
	if m := codePattern.FindStringSubmatchIndex(text); m != nil {
		// A number of more digits than an int holds leaves the code at 0.
		e.Code, _ = strconv.Atoi(text[m[2]:m[3]])
		e.Message = text[m[0]:]
	}
	return e
}
