package crm

import (
	"testing"
	"time"

	"kohort.dev/kohort/internal/pgtest"
	"kohort.dev/kohort/test/demo/population"
)

func TestLoadChangesOnlyWhatDiffers(t *testing.T) {
	p, err := population.Generate(population.Config{Seed: 1, Customers: 50, Clock: time.Date(2026, 11, 20, 9, 30, 0, 0, time.UTC)})
	if err != nil {
		t.Fatal(err)
	}
	dsn := pgtest.Start(t).Database("crm")
	for _, step := range []struct {
		why    string
		change func()
		want   int64
	}{
		{"an empty database gets every customer", func() {}, 50},
		{"the same customers again change nothing, so a cursor sees nothing new", func() {}, 0},
		{"one moved to another plan", func() { p.Customers[3].Plan = "gold" }, 1},
	} {
		step.change()
		got, err := Load(t.Context(), dsn, p.Customers)
		if err != nil {
			t.Fatalf("%s: %v", step.why, err)
		}
		if got != step.want {
			t.Errorf("%s: %d rows changed, want %d", step.why, got, step.want)
		}
	}
}
