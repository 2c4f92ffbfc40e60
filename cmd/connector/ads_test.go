package main

import (
	"testing"
	"time"

	"kohort.dev/kohort/internal/destination/adtest"
	"kohort.dev/kohort/internal/run"
	"kohort.dev/kohort/internal/store/storetest"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

// Whole runs from a warehouse to ad platforms: who enters is there, nothing is sent twice, who leaves is gone.
func TestSyncToAdPlatforms(t *testing.T) {
	url, user, password := storetest.Warehouse(t)
	members(t, warehousetest.Connect(t, url, user, password), "vip")
	meta, google := adtest.NewMeta(t), adtest.NewGoogle(t)
	for _, c := range []struct {
		name, secret string
		order        run.SyncOrder
		held         func() []string
		asked        func() int
	}{
		{"meta", adtest.MetaToken, run.SyncOrder{Meta: &run.Meta{URL: meta.URL + "/v25.0", Audience: meta.Audience}}, meta.Rows, meta.Requests},
		{"google", google.Key, run.SyncOrder{Google: &run.Google{URL: google.URL, Account: run.GoogleAccount{Type: "GoogleAds", ID: "1234567890"}, Audience: "987"}},
			google.Identifiers, func() int { return len(google.Calls()) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			order := c.order
			order.Platform, order.Sync, order.Audience, order.Destination = "shop", "vip-"+c.name, "vip", c.name
			order.Mode, order.Slot = "Mirror", time.Unix(1795437000, 0).UTC()
			args := []string{"sync", "--warehouse-url", url, "--warehouse-credentials-dir", warehousetest.Credentials(t, user, password), "--token-file", secretFile(t, c.secret)}
			for _, step := range []struct {
				why            string
				drain          bool
				added, removed int64
				held, requests int
			}{
				{"everybody enters", false, 3, 0, 3, 1},
				{"nothing is sent twice", false, 0, 0, 3, 1},
				{"everybody leaves", true, 0, 3, 0, 2},
			} {
				order.Drain = step.drain
				code, report, log := connector(t, order, args...)
				if code != run.ExitSucceeded || report.Added != step.added || report.Removed != step.removed || report.Rejected != 0 {
					t.Fatalf("%s: exit code %d, report %+v\n%s", step.why, code, report, log)
				}
				if held := c.held(); len(held) != step.held || c.asked() != step.requests {
					t.Fatalf("%s: %q after %d requests, want %d after %d", step.why, held, c.asked(), step.held, step.requests)
				}
			}
		})
	}
}
