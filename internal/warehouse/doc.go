// Package warehouse knows the ClickHouse that holds what a Platform knows: how it is reached, its schema, what each
// table of it holds, how rows go in, and which of its errors pass by themselves.
//
// The only protocol spoken is ClickHouse's HTTP interface, so the embedded store and a cluster look the same.
//
//	conn, err := warehouse.Open(ctx, url, credentialsDir) // every worker
//	err = warehouse.Migrate(ctx, conn)                    // the engine only, at its start
//	err = warehouse.Insert(ctx, conn, "traits", "", columns...)
//	if warehouse.IsRetryable(err) { … }
package warehouse
