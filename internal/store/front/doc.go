// Package front is ClickHouse's HTTP interface in front of the engine in
// process. What a ClickHouse client sends over HTTP it answers as a ClickHouse
// server does, within these bounds:
//
//   - Every request has a connection of its own; there are no sessions, no
//     temporary tables across requests, no roles, no external tables. A
//     request that asks for them is refused, never half obeyed.
//   - The engine writes its Native format at revision 0, whatever the client
//     offers. clickhouse-go takes the revision from its hello query, which the
//     front therefore answers itself (hello.go). Other clients must use
//     client_protocol_version=0 or another format.
//   - Several statements in one text, statements that touch the server's files
//     and statements that end the engine are refused (guard.go).
package front
