package truth

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kohort.dev/kohort/test/demo/population"
)

func now() time.Time { return time.Date(2026, 11, 20, 9, 30, 0, 0, time.UTC) }

func order(total float64, daysAgo float64) fact {
	at := now().Add(-time.Duration(daysAgo * float64(day)))
	return fact{name: "Order Completed", time: at, properties: map[string]any{"total": total}}
}

func TestVIP(t *testing.T) {
	for _, test := range []struct {
		why     string
		history []fact
		want    bool
	}{
		{"three orders over 50 are enough", []fact{order(50.01, 1), order(99, 2), order(51, 89)}, true},
		{"50 is not over 50", []fact{order(50, 1), order(99, 2), order(51, 3)}, false},
		{"an order of 91 days ago is too old", []fact{order(60, 1), order(60, 2), order(60, 91)}, false},
		{"looking at a product is not an order", []fact{order(60, 1), order(60, 2), {name: "Product Viewed", time: now(), properties: map[string]any{"total": 60.0}}}, false},
	} {
		if got := buys(test.history, now(), vipOrders); got != test.want {
			t.Errorf("%s: got %t", test.why, got)
		}
	}
}

func TestIsLapsed(t *testing.T) {
	pro := population.Customer{Plan: "pro"}
	for _, test := range []struct {
		why      string
		customer population.Customer
		history  []fact
		want     bool
	}{
		{"no order at all", pro, nil, true},
		{"an old order does not help", pro, []fact{order(10, 61)}, true},
		{"any order of the last 60 days does", pro, []fact{order(1, 59)}, false},
		{"only the pro plan counts", population.Customer{Plan: "plus"}, nil, false},
	} {
		if got := isLapsed(test.customer, test.history, now()); got != test.want {
			t.Errorf("%s: got %t", test.why, got)
		}
	}
}

func TestExpired(t *testing.T) {
	midnight := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		why  string
		at   time.Time
		want bool
	}{
		{"365 days before midnight is due", midnight.Add(-365 * day), true},
		{"a second less waits for the next midnight, even though it is 365 days old by now", midnight.Add(-365*day + time.Second), false},
		{"yesterday stays", midnight.Add(-day), false},
	} {
		if got := expired(test.at, now()); got != test.want {
			t.Errorf("%s: got %t", test.why, got)
		}
	}
}

// TestDemoHasSomethingToShow keeps the sample audiences from becoming empty or everybody, and the answers from
// depending on the hour that the demo is run at.
func TestDemoHasSomethingToShow(t *testing.T) {
	p, err := population.Generate(population.Config{Seed: 1, Customers: 2000, Clock: now()})
	if err != nil {
		t.Fatal(err)
	}
	first := Of(p, now())
	for _, name := range []string{VIP, Lapsed, Winback} {
		if n := len(first.Audiences[name]); n < 20 || n > 1000 {
			t.Errorf("audience %s has %d members of 2,000 customers", name, n)
		}
	}
	if len(first.Audiences[Winback]) >= len(first.Audiences[Lapsed]) {
		t.Error("nobody is lapsed and unhappy: winback shows nothing of its own")
	}
	if expired, all := Sum(first.Expired), Sum(first.Events); expired < 1000 || expired > all/2 {
		t.Errorf("%d of %d events are expired", expired, all)
	}
	later := Of(p, now().Add(36*time.Hour))
	if diff := cmp.Diff(first, later); diff != "" {
		t.Errorf("the truth changes within a day and a half:\n%s", diff)
	}
	t.Logf("%d profiles, events %v, expired %v, vip %d, lapsed %d, winback %d", first.Profiles, first.Events, first.Expired,
		len(first.Audiences[VIP]), len(first.Audiences[Lapsed]), len(first.Audiences[Winback]))
	t.Logf("%+v", first.Showcase)
}

// TestVIPsNeedUnification makes sure that the demo's audience cannot be had from one touchpoint alone.
func TestVIPsNeedUnification(t *testing.T) {
	p, err := population.Generate(population.Config{Seed: 1, Customers: 2000, Clock: now()})
	if err != nil {
		t.Fatal(err)
	}
	whole := len(Of(p, now()).Audiences[VIP])
	for _, hide := range []string{population.Web, population.App} {
		part := *p
		if hide == population.Web {
			part.Web = nil
		} else {
			part.App = nil
		}
		if n := len(Of(&part, now()).Audiences[VIP]); n >= whole-10 {
			t.Errorf("without %s there are still %d of %d vips", hide, n, whole)
		}
	}
}
