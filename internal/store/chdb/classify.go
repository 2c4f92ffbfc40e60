package chdb

import (
	"errors"
	"runtime"
	"unsafe"
)

// Class says what a statement does to state that outlives it.
type Class uint32

// The classes of chdb_query_class, in ascending order of restriction.
const (
	ReadOnly       Class = iota // SELECT, SHOW, DESCRIBE, EXPLAIN, EXISTS, CHECK
	Mutating                    // changes a database: INSERT, CREATE, ALTER, DROP, DELETE, OPTIMIZE…
	MutatingGlobal              // changes something outside every database: functions, access, writes into system
	Control                     // USE, SET, ATTACH, SYSTEM, BACKUP, KILL, and statements that write files
	Unknown                     // did not parse
)

// Analysis is what the engine's own parser makes of a text.
type Analysis struct {
	Statements int // executable statements; 0 when the text did not parse
	Class      Class
}

// Classify parses sql without running it.
func (c *Conn) Classify(sql string) (Analysis, error) {
	// chdb_query_analysis_v1: struct_size, statement_count, flags, query_class.
	out := &[4]uint32{16}
	ptr, n := bytesOf(sql)
	state := c.lib.c.classify(c.handle, ptr, n, nil, 0, unsafe.Pointer(out))
	runtime.KeepAlive(sql)
	if state != 0 {
		return Analysis{}, errors.New("classifying a statement: the engine refused")
	}
	return Analysis{Statements: int(out[1]), Class: Class(out[3])}, nil
}
