package world

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestUntil(t *testing.T) {
	calls := 0
	err := Until(t.Context(), time.Minute, func(context.Context) (string, error) {
		calls++
		switch calls {
		case 1:
			return "", errors.New("the API server is busy")
		case 2:
			return "one is missing", nil
		}
		return "", nil
	})
	if err != nil || calls != 3 {
		t.Errorf("an error and a missing thing are waited for: %d calls, %v", calls, err)
	}

	err = Until(t.Context(), 10*time.Millisecond, func(context.Context) (string, error) { return "one of 3 is missing", nil })
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "one of 3 is missing") {
		t.Errorf("who gives up says what was missing: %v", err)
	}
}
