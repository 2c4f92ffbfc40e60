package account_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kohort.dev/kohort/internal/account"
	"kohort.dev/kohort/internal/event"
	"kohort.dev/kohort/internal/profile"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

func at(s int64) time.Time { return time.Unix(s, 0).UTC() }

func TestFold(t *testing.T) {
	group := func(s int64, seq uint64, id string, traits ...event.Trait) event.Event {
		return event.Event{Occurred: at(s), Seq: seq, Source: "web", Party: "First", Account: &event.Account{ID: id, Traits: traits}}
	}
	events := []event.Event{
		group(5, 1, "acme", event.Trait{Name: "plan", Value: `"a"`}, event.Trait{Name: "plan", Value: `"b"`}),
		group(4, 2, "acme", event.Trait{Name: "plan", Value: `"late"`}), // what is known is newer
		group(9, 3, "acme", event.Trait{Name: "size", Value: "null"}),
		group(6, 4, "other"),
		group(6, 5, "acme", event.Trait{Name: "plan", Value: `"of nobody"`}),
		{Occurred: at(7), Seq: 6}, // no group event
	}
	traits, members := account.Fold(events, []uint64{1, 1, 2, 1, 0, 1})
	trait := func(name, value string, s int64, seq uint64) account.TraitRow {
		return account.TraitRow{Account: "acme", Name: name, Value: value, Source: "web", Party: "First", Occurred: at(s), Seq: seq}
	}
	if diff := cmp.Diff([]account.TraitRow{trait("plan", `"b"`, 5, 1), trait("size", "null", 9, 3)}, traits); diff != "" {
		t.Errorf("traits (-want +got):\n%s", diff)
	}
	want := []account.MemberRow{
		{Account: "acme", Profile: 1, Since: at(4), Seen: at(5)}, {Account: "acme", Profile: 2, Since: at(9), Seen: at(9)},
		{Account: "other", Profile: 1, Since: at(6), Seen: at(6)},
	}
	if diff := cmp.Diff(want, members); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
}

// Customer 5 was merged into 2; 7 is another. Rows are written in several inserts and twice, as after a crash.
func TestRead(t *testing.T) {
	conn := warehousetest.Open(t)
	const weird = "a'c\tme\\"
	id := func(n string) string { return "00000000-0000-0000-0000-00000000000" + n }
	statements := []string{
		`INSERT INTO profiles (profile, id, rank, created, version) VALUES
			(2, '` + id("2") + `', 0, 1, 9), (5, '` + id("5") + `', 0, 2, 5), (7, '` + id("7") + `', 0, 3, 7)`,
		`INSERT INTO profile_overrides (profile, survivor, version, parent, merged) VALUES (5, 2, 9, 2, 9)`,
	}
	for range 2 {
		statements = append(statements,
			`INSERT INTO account_members VALUES ('a\'c\tme\\', 2, 20000, 30000), ('a\'c\tme\\', 5, 10000, 10000), ('beta', 5, 50000, 50000)`,
			`INSERT INTO account_members VALUES ('a\'c\tme\\', 7, 40000, 40000), ('a\'c\tme\\', 2, 25000, 60000)`,
			`INSERT INTO account_traits VALUES ('a\'c\tme\\', 'plan', '"old"', 'web', 'First', 10000, 1000), ('a\'c\tme\\', 'gone', '1', 'web', 'First', 10000, 1000)`,
			`INSERT INTO account_traits VALUES ('a\'c\tme\\', 'plan', '"new"', 'crm', 'Second', 20000, 2000), ('a\'c\tme\\', 'gone', 'null', 'web', 'First', 20000, 2000)`)
	}
	for _, s := range statements {
		if err := conn.Exec(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	got, err := account.Get(t.Context(), conn, weird)
	if err != nil {
		t.Fatal(err)
	}
	want := &account.Account{
		ID: weird, Members: 2, Since: at(10), Seen: at(60),
		Traits: map[string]profile.Trait{"plan": {Value: []byte(`"new"`), Source: "crm", Party: "Second", Occurred: at(20)}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the account (-want +got):\n%s", diff)
	}
	if _, err := account.Get(t.Context(), conn, "nobody"); !errors.Is(err, account.ErrNotFound) {
		t.Errorf("an account that nobody named gave %v, want ErrNotFound", err)
	}

	var pages []account.Member
	for after := uint64(0); ; {
		page, err := account.Members(t.Context(), conn, weird, after, 1)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		pages, after = append(pages, page...), page[len(page)-1].Ordinal
	}
	members := []account.Member{
		{ProfileID: id("2"), Since: at(10), Seen: at(60), Ordinal: 2}, {ProfileID: id("7"), Since: at(40), Seen: at(40), Ordinal: 7},
	}
	if diff := cmp.Diff(members, pages); diff != "" {
		t.Errorf("members, a page each (-want +got):\n%s", diff)
	}
	links, err := account.Links(t.Context(), conn, 2)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]account.Link{{Account: weird, Since: at(10), Seen: at(60)}, {Account: "beta", Since: at(50), Seen: at(50)}}, links); diff != "" {
		t.Errorf("accounts of a customer (-want +got):\n%s", diff)
	}
}
