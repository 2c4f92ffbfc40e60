// Package sdk tests the collector with the SDKs that its users have: @segment/analytics-node, @segment/analytics-next in
// a browser, and @rudderstack/rudder-sdk-node, as npm has them. What they send goes through a real collector, stream,
// ingestion and warehouse, and is compared there field by field. "make sdk" installs what the tests need and runs them.
package sdk
