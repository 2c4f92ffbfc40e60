package front

import (
	"encoding/binary"
	"strings"
)

// helloQuery is what clickhouse-go sends first on every connection (queryHello
// in its conn_http.go).
const helloQuery = "SELECT displayName(), version(), revision(), timezone()"

const displayName = "kohort-store"

func isHello(q *request, text string) bool {
	return q.protocol && q.format == "Native" && strings.TrimSpace(text) == helloQuery
}

// hello answers the hello query. clickhouse-go decodes this one block with the
// revision that it offered, and all later ones with the revision that the
// block names: 0, at which the engine writes. So the block itself is laid out
// for a revision from 54454 on: block info before it, and a byte for the
// serialization (0: the default) in every column.
func (f *Front) hello() []byte {
	b := []byte{
		1, 0, // block info, field 1: is_overflows = 0
		2, 0xff, 0xff, 0xff, 0xff, // field 2: bucket_num = -1
		0,    // no more fields
		4, 1, // columns, rows
	}
	text := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	column := func(name, kind string) {
		text(name)
		text(kind)
		b = append(b, 0)
	}
	column("displayName()", "String")
	text(displayName)
	column("version()", "String")
	text(f.version)
	column("revision()", "UInt32")
	b = binary.LittleEndian.AppendUint32(b, 0)
	column("timezone()", "String")
	text("UTC")
	return b
}
