package run

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// Interval is the time that a run covers: from the end of the last run that succeeded, up to its own slot.
type Interval struct {
	From time.Time `json:"from"` // in it
	To   time.Time `json:"to"`   // not in it
	Zone string    `json:"zone,omitempty"`
}

// placeholder stands for an end of the interval, such as {from:yyyy-MM-dd}.
var placeholder = regexp.MustCompile(`\{(from|to):([^{}]*)\}`)

// layout translates the letters of a placeholder.
var layout = strings.NewReplacer("yyyy", "2006", "MM", "01", "dd", "02", "HH", "15", "mm", "04", "ss", "05")

// separators may stand between the letters of a placeholder.
const separators = "-/:._ T"

// HasPlaceholder says whether a text has a place for the interval.
func HasPlaceholder(text string) bool { return placeholder.MatchString(text) }

// CheckPlaceholders tells what is wrong with the placeholders of a text, and what to write instead.
func CheckPlaceholders(text string) error {
	for _, match := range placeholder.FindAllStringSubmatch(text, -1) {
		rest := strings.NewReplacer("yyyy", "", "MM", "", "dd", "", "HH", "", "mm", "", "ss", "").Replace(match[2])
		if match[2] == "" || strings.Trim(rest, separators) != "" {
			return fmt.Errorf("%s is no place for a time; write one of yyyy, MM, dd, HH, mm and ss, and %q between them, such as {from:yyyy-MM-dd}", match[0], separators)
		}
	}
	return nil
}

// Fill puts the interval into a text, in its time zone.
func (i Interval) Fill(text string) (string, error) {
	if err := CheckPlaceholders(text); err != nil {
		return "", err
	}
	zone, err := time.LoadLocation(i.Zone)
	if err != nil {
		return "", fmt.Errorf("the time zone %q is not known: %w", i.Zone, err)
	}
	return placeholder.ReplaceAllStringFunc(text, func(match string) string {
		parts := placeholder.FindStringSubmatch(match)
		at := i.From
		if parts[1] == "to" {
			at = i.To
		}
		return at.In(zone).Format(layout.Replace(parts[2]))
	}), nil
}
