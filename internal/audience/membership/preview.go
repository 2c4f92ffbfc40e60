package membership

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/internal/audience"
	"kohort.dev/kohort/internal/warehouse"
)

// sampled is how many members a preview names.
const sampled = 5

// Preview is what an Audience would be, were it applied.
type Preview struct {
	// Size it would have, Current that of the stored members; Entered and Left lead from one to the other.
	Size    uint64 `json:"size"`
	Current uint64 `json:"current"`
	Entered uint64 `json:"entered"`
	Left    uint64 `json:"left"`
	// Criteria in their order, with how many customers each holds for.
	Criteria []CriterionSize `json:"criteria"`
	// Sample are public ids of some members.
	Sample []string `json:"sample"`
	// Took is how long the warehouse computed, in milliseconds.
	Took int64 `json:"tookMillis"`
	// SQL is the statement that gives the members.
	SQL string `json:"sql"`
}

// CriterionSize is how many customers a criterion holds for.
type CriterionSize struct {
	Name string `json:"name"`
	// Size is nil for a criterion that says only what a customer is not.
	Size *uint64 `json:"size"`
}

// PreviewOf computes a valid Audience without storing anything. Audiences that it asks for are answered by their stored
// members.
func PreviewOf(ctx context.Context, conn driver.Conn, a *v1alpha1.Audience, at time.Time) (*Preview, error) {
	began := time.Now()
	plan, err := audience.Compile(append(audience.Apart(a), a), at)
	if err != nil {
		return nil, err
	}
	alone, err := audience.Compile([]*v1alpha1.Audience{a}, at)
	if err != nil {
		return nil, err
	}
	var profiles uint64
	if err := conn.QueryRow(ctx, "SELECT count() FROM profiles").Scan(&profiles); err != nil {
		return nil, fmt.Errorf("counting profiles: %w", err)
	}
	p := &Preview{SQL: alone.Members(audience.Bucket{}), Sample: []string{}}
	sizes := map[string]uint64{}
	var members []uint64
	buckets := int(profiles*uint64(len(plan.Audiences))/groupedRows) + 1
	for i := range buckets {
		statement := preview(plan, a.Name, audience.Bucket{Index: i, Count: buckets})
		err := warehouse.Each(large(ctx), conn, statement, func(rows driver.Rows) error {
			var name string
			var size, entered, left, current uint64
			var some []uint64
			if err := rows.Scan(&name, &size, &entered, &left, &current, &some); err != nil {
				return err
			}
			sizes[name] += size
			if name == a.Name {
				p.Size, p.Entered, p.Left, p.Current = p.Size+size, p.Entered+entered, p.Left+left, p.Current+current
				members = append(members, some...)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("computing Audience %s: %w", a.Name, err)
		}
	}
	p.Took = time.Since(began).Milliseconds()
	for _, c := range a.Spec.Criteria {
		one := CriterionSize{Name: c.Name}
		if name := audience.PartName(a.Name, c.Name); slices.ContainsFunc(plan.Audiences, func(p audience.Planned) bool { return p.Name == name }) {
			one.Size = new(sizes[name])
		}
		p.Criteria = append(p.Criteria, one)
	}
	p.Sample, err = publicIDs(ctx, conn, members[:min(len(members), sampled)])
	return p, err
}

// preview is the statement that gives, for each Audience of a plan in which something happens, its name, its size, who
// enters and leaves, the stored size, and some members. Only the one that is named has stored members.
func preview(plan audience.Plan, name string, bucket audience.Bucket) string {
	names := make([]string, len(plan.Audiences))
	number := 0
	for i, a := range plan.Audiences {
		names[i] = a.Name
		if a.Name == name {
			number = i + 1
		}
	}
	stored := "SELECT toUInt16(" + strconv.Itoa(number) + ") AS number, profile, 0 AS now, 1 AS before FROM memberships FINAL WHERE audience = " + audience.Quote(name)
	if in := bucket.Has("profile"); in != "" {
		stored += " AND " + in
	}
	return "SELECT [" + quoted(names) + "][number], countIf(is = 1), countIf(is > was), countIf(was > is), countIf(was = 1), groupArrayIf(" + strconv.Itoa(sampled) + ")(profile, is = 1)\n" +
		"FROM (\nSELECT number, profile, max(now) AS is, max(before) AS was\nFROM (\n" +
		"SELECT audience AS number, profile, 1 AS now, 0 AS before FROM (\n" + plan.Members(bucket) + "\n)\nUNION ALL\n" + stored +
		"\n)\nGROUP BY number, profile\n)\nGROUP BY number"
}

// publicIDs of profiles, sorted.
func publicIDs(ctx context.Context, conn driver.Conn, profiles []uint64) ([]string, error) {
	out := []string{}
	if len(profiles) == 0 {
		return out, nil
	}
	list := make([]string, len(profiles))
	for i, p := range profiles {
		list[i] = strconv.FormatUint(p, 10)
	}
	err := warehouse.Each(ctx, conn, "SELECT toString(id) FROM profiles FINAL WHERE profile IN ("+strings.Join(list, ", ")+") ORDER BY 1", func(rows driver.Rows) error {
		var id string
		err := rows.Scan(&id)
		out = append(out, id)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading ids of profiles: %w", err)
	}
	return out, nil
}

// Explanation is why a profile is a member of an Audience, or is not.
type Explanation struct {
	// Holds says whether the rule holds now, Stored whether the profile is a stored member, since when.
	Holds  bool       `json:"holds"`
	Stored bool       `json:"stored"`
	Since  *time.Time `json:"since,omitempty"`
	// Criteria in their order.
	Criteria []CriterionAnswer `json:"criteria"`
	// Match says how they are put together; empty when all must hold.
	Match string `json:"match,omitempty"`
}

// CriterionAnswer says whether a criterion holds for a profile.
type CriterionAnswer struct {
	Name  string `json:"name"`
	Holds bool   `json:"holds"`
}

// Explain computes a valid Audience and each of its criteria for one surviving profile.
func Explain(ctx context.Context, conn driver.Conn, a *v1alpha1.Audience, profile uint64, id string, at time.Time) (*Explanation, error) {
	plan, err := audience.Compile(append(audience.ApartFor(a, id), a), at)
	if err != nil {
		return nil, err
	}
	holds := map[string]bool{}
	err = warehouse.Each(large(ctx), conn, plan.Members(audience.Profiles{profile}), func(rows driver.Rows) error {
		var number uint16
		var member uint64
		err := rows.Scan(&number, &member)
		if err == nil && member == profile {
			holds[plan.Audiences[number-1].Name] = true
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("computing Audience %s for one profile: %w", a.Name, err)
	}
	e := &Explanation{Holds: holds[a.Name], Match: a.Spec.Match}
	for _, c := range a.Spec.Criteria {
		e.Criteria = append(e.Criteria, CriterionAnswer{c.Name, holds[audience.PartName(a.Name, c.Name)]})
	}
	query := fmt.Sprintf("SELECT since FROM memberships FINAL WHERE audience = %s AND profile = %d", audience.Quote(a.Name), profile)
	err = warehouse.Each(ctx, conn, query, func(rows driver.Rows) error {
		e.Stored, e.Since = true, new(time.Time)
		return rows.Scan(e.Since)
	})
	if err != nil {
		return nil, fmt.Errorf("reading a membership: %w", err)
	}
	return e, nil
}
