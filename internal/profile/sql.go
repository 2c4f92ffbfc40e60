package profile

// Ordinals begin at 1, so a survivor of 0, which a row without an override gets from the join (join_use_nulls is off by
// default), means that the profile was never merged.

// Join is the clause that joins profile_overrides to the rows of alias, a table with a column profile. It stands in FROM
// after that table and gives its columns to [Root].
//
// profile_overrides has one row per merged profile and is read whole, so the right side of the join stays small beside
// any table of events.
func Join(alias string) string {
	return "LEFT ANY JOIN (SELECT profile, survivor FROM profile_overrides FINAL) AS " + overrides(alias) +
		" ON " + overrides(alias) + ".profile = " + alias + ".profile"
}

// Root is the expression, UInt64, for the ordinal of the customer that a row of alias belongs to now. It needs [Join].
func Root(alias string) string {
	return "if(" + overrides(alias) + ".survivor = 0, " + alias + ".profile, " + overrides(alias) + ".survivor)"
}

func overrides(alias string) string { return alias + "_overrides" }

// Traits is a subquery with one row per customer and trait that is set: profile (root), name, value (JSON), source,
// party, occurred. Of several values the latest by event time counts, of several at the same time the one that arrived
// last; a trait whose last value is null is not set.
func Traits() string {
	return `(SELECT ` + Root("t") + ` AS profile, t.name AS name,
		argMax((t.value, t.source, t.party, t.occurred), (t.occurred, t.seq)) AS latest,
		latest.1 AS value, latest.2 AS source, latest.3 AS party, latest.4 AS occurred
	FROM traits AS t ` + Join("t") + `
	GROUP BY profile, name
	HAVING value != 'null')`
}
