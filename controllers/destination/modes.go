package destination

import (
	"fmt"

	"kohort.dev/kohort/api/v1alpha1"
)

// sets are the kinds of destinations that hold a customer once, so that a second entry leaves no trace there.
var sets = map[string]string{
	"sql": "a row per customer", "metaCustomAudience": "a set of customers", "googleCustomerMatch": "a set of customers",
}

// Refuses says why a kind of destination cannot do a mode, and what to write in its place; empty when it can.
func Refuses(d *v1alpha1.Destination, mode v1alpha1.SyncMode) string {
	if holds, ok := sets[d.Type()]; ok && mode == v1alpha1.SyncAppend {
		return fmt.Sprintf("Append sends each entry as an event, and Destination %s (%s) holds %s, in which a second entry leaves no trace; use Upsert to keep those who left, or Mirror or AddRemove to take them out", d.Name, d.Type(), holds)
	}
	return ""
}
