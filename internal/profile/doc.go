// Package profile knows what is known of a customer: the latest traits, the one view of a customer over everything that
// was merged into it, and how other packages join rows to the customer they belong to now.
//
// A row of the warehouse keeps the ordinal it was written with. Whoever groups rows by customer resolves it:
//
//	SELECT Root("e") AS profile, count()
//	FROM events AS e Join("e")
//	GROUP BY profile
//
// that is, fmt.Sprintf("SELECT %s AS profile, count() FROM events AS e %s GROUP BY profile", profile.Root("e"),
// profile.Join("e")). [Traits] is the same thing done for traits: the latest value of each customer and name.
package profile
