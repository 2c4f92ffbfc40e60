// Package chdb binds libchdb, the ClickHouse engine as a shared library,
// without cgo: the symbols of its C ABI (chdb.h of chdb-core 26.7) are
// resolved at run time through purego.
//
// The engine has rules that this package turns into types:
//
//   - One storage path per process. [Library.Start] opens it and keeps one
//     connection open for as long as the [Engine] lives, because closing the
//     last one shuts the engine down.
//   - One statement at a time per connection. A [Conn] therefore belongs to
//     one goroutine; opening one costs about 0.2 ms, so callers take one per
//     request instead of pooling them.
//   - Settings belong to the connection: they are given to [Engine.Connect],
//     apply to nobody else and vanish with it. The engine ignores unknown
//     names silently; the caller checks them first.
//   - Nothing in the ABI interrupts a running statement. To cancel one, run
//     KILL QUERY on another connection.
//
// A crash of the C++ engine kills the process, so only the warehouse process
// loads the library.
package chdb
