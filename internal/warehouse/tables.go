package warehouse

// Table says what a table holds, for those that must reach every row of a customer or of an age.
type Table struct {
	Name string
	// Personal tables hold data about customers: erasure must reach them.
	Personal bool
	// Profile is the column with the ordinal of the customer a row is about, to be resolved through profile_overrides.
	// Empty when rows are not addressed so.
	Profile string
	// Identifiers are pairs of columns, type and value, that name a customer directly.
	Identifiers [][2]string
	// ProfileID is the column with the public id of the customer.
	ProfileID string
	// Texts are columns of free content in which a customer's values may stand.
	Texts []string
	// Received is the column that says when a row arrived, Occurred the one that says when it happened. Retention counts
	// from them. Empty when the row has no such time.
	Received, Occurred string
}

// Tables lists every table of the schema. Retention and erasure walk it; a test fails when the database has a table that
// is not here.
func Tables() []Table {
	return []Table{
		{
			Name: "events", Personal: true, Profile: "profile", Texts: []string{"properties", "context"},
			Identifiers: nil, Received: "received", Occurred: "occurred",
		},
		{
			Name: "identity_edges", Personal: true, Identifiers: [][2]string{{"a_type", "a_value"}, {"b_type", "b_value"}},
			Received: "received", Occurred: "occurred",
		},
		{Name: "identity_cuts", Personal: true, Profile: "profile", Identifiers: [][2]string{{"type", "value"}}},
		{Name: "identities", Personal: true, Profile: "profile", Identifiers: [][2]string{{"type", "value"}}, Occurred: "since"},
		{Name: "profile_identifiers", Personal: true, Profile: "profile", Identifiers: [][2]string{{"type", "value"}}, Occurred: "since"},
		{Name: "profiles", Personal: true, Profile: "profile", ProfileID: "id", Occurred: "created"},
		{Name: "profile_overrides", Personal: true, Profile: "profile"},
		// Views fill it from profiles, profile_overrides and memberships; what is deleted there must be deleted here.
		{Name: "profile_cards", Personal: true, Profile: "profile", ProfileID: "id"},
		{Name: "traits", Personal: true, Profile: "profile", Texts: []string{"value"}, Occurred: "occurred"},
		// An account may be one person's firm.
		{Name: "account_traits", Personal: true, Texts: []string{"account", "value"}, Occurred: "occurred"},
		{Name: "account_members", Personal: true, Profile: "profile", Occurred: "seen"},
		{Name: "memberships", Personal: true, Profile: "profile", Occurred: "since"},
		{Name: "membership_log", Personal: true, Profile: "profile", Occurred: "at"},
		{Name: "audience_revisions"},
		{Name: "membership_staged", Personal: true, Profile: "profile"},
		{Name: "membership_held", Personal: true, Profile: "profile"},
		{Name: "audience_holds"},
		{Name: "sync_state", Personal: true, Profile: "profile", ProfileID: "profile_id", Texts: []string{"identifiers"}, Occurred: "at"},
		{Name: "quarantine", Personal: true, Texts: []string{"message", "original", "record"}, Received: "received"},
		// Hashes of what was in quarantine say nothing about anybody.
		{Name: "quarantine_released", Received: "received"},
		// Hashes of message ids say nothing about anybody; they expire by themselves.
		{Name: "message_ids", Received: "received"},
		{Name: "ingest_log"},
		{Name: "ingest_terms"},
		// Counts with the id of one message; fields are named, values are not. They expire by themselves.
		{Name: "violations", Received: "received"},
		// A cursor may be a customer's number or a time, as the source's query has it.
		{Name: "cursors", Texts: []string{"value"}},
		{Name: "schema_migrations"},
	}
}
