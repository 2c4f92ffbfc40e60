package chdb

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"github.com/ebitengine/purego"
)

// Library is a loaded libchdb. It is safe for concurrent use. A process loads
// it once and never unloads it: the engine leaves threads behind that run its
// code.
type Library struct {
	c abi
}

// abi holds the functions of chdb.h that the store uses. Handles are uintptr,
// because they point into the C++ heap and the garbage collector must not
// follow them; pointers to bytes are unsafe.Pointer.
type abi struct {
	version           func() string
	setSignalHandlers func(enabled int32)
	connect           func(argc int32, argv unsafe.Pointer) uintptr
	closeConn         func(cell uintptr)

	query func(conn uintptr, sql unsafe.Pointer, sqlLen uintptr, format unsafe.Pointer, formatLen uintptr,
		names, nameLens, values, valueLens unsafe.Pointer, count uintptr) uintptr
	streamQuery func(conn uintptr, sql unsafe.Pointer, sqlLen uintptr, format unsafe.Pointer, formatLen uintptr,
		names, nameLens, values, valueLens unsafe.Pointer, count uintptr) uintptr
	streamFetch  func(conn, stream uintptr) uintptr
	streamCancel func(conn, stream uintptr)

	insert func(conn uintptr, sql unsafe.Pointer, sqlLen uintptr, format unsafe.Pointer, formatLen uintptr,
		names, nameLens, values, valueLens unsafe.Pointer, count uintptr) uintptr
	insertAppend  func(stream uintptr, data unsafe.Pointer, n uintptr) int32
	insertDone    func(stream uintptr) uintptr
	insertCancel  func(stream uintptr)
	insertError   func(stream uintptr) string
	insertDestroy func(stream uintptr)

	resultBuffer       func(result uintptr) unsafe.Pointer
	resultLength       func(result uintptr) uintptr
	resultError        func(result uintptr) string
	resultRowsRead     func(result uintptr) uint64
	resultStorageRows  func(result uintptr) uint64
	resultStorageBytes func(result uintptr) uint64
	resultRowsWritten  func(result uintptr) uint64
	resultBytesWritten func(result uintptr) uint64
	resultDestroy      func(result uintptr)

	classify func(conn uintptr, sql unsafe.Pointer, sqlLen uintptr, database unsafe.Pointer, databaseLen uintptr,
		out unsafe.Pointer) int32
}

// Load opens the shared library at path and resolves every symbol that the
// store needs; a symbol that is missing is an error that names it, since it
// means a libchdb older than 26.7.2.
//
// It turns libchdb's own signal handlers off, before anything else runs: with
// them a nil dereference in Go hangs the process instead of panicking.
func Load(path string) (*Library, error) {
	handle, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, fmt.Errorf("loading libchdb from %s: %w", path, err)
	}
	l := &Library{}
	for _, s := range []struct {
		name string
		fn   any
	}{
		{"chdb_version", &l.c.version},
		{"chdb_set_signal_handlers_enabled", &l.c.setSignalHandlers},
		{"chdb_connect", &l.c.connect},
		{"chdb_close_conn", &l.c.closeConn},
		{"chdb_query_with_params_n", &l.c.query},
		{"chdb_stream_query_with_params_n", &l.c.streamQuery},
		{"chdb_stream_fetch_result", &l.c.streamFetch},
		{"chdb_stream_cancel_query", &l.c.streamCancel},
		{"chdb_stream_insert_with_params_n", &l.c.insert},
		{"chdb_stream_append", &l.c.insertAppend},
		{"chdb_stream_done", &l.c.insertDone},
		{"chdb_stream_cancel_insert", &l.c.insertCancel},
		{"chdb_stream_insert_error", &l.c.insertError},
		{"chdb_destroy_insert_stream", &l.c.insertDestroy},
		{"chdb_result_buffer", &l.c.resultBuffer},
		{"chdb_result_length", &l.c.resultLength},
		{"chdb_result_error", &l.c.resultError},
		{"chdb_result_rows_read", &l.c.resultRowsRead},
		{"chdb_result_storage_rows_read", &l.c.resultStorageRows},
		{"chdb_result_storage_bytes_read", &l.c.resultStorageBytes},
		{"chdb_result_rows_written", &l.c.resultRowsWritten},
		{"chdb_result_bytes_written", &l.c.resultBytesWritten},
		{"chdb_destroy_query_result", &l.c.resultDestroy},
		{"chdb_classify_query_n", &l.c.classify},
	} {
		sym, err := purego.Dlsym(handle, s.name)
		if err != nil {
			return nil, fmt.Errorf("loading libchdb from %s: symbol %s is missing; version 26.7.3 has it: %w", path, s.name, err)
		}
		purego.RegisterFunc(s.fn, sym)
	}
	l.c.setSignalHandlers(0)
	return l, nil
}

// Version is the release of the loaded library, such as "26.7.3".
func (l *Library) Version() string { return l.c.version() }

// Engine is the running database. Its methods are safe for concurrent use.
type Engine struct {
	lib    *Library
	path   string
	master uintptr // cell of the connection that keeps the engine alive
}

// Start opens the data directory at path. Args are further arguments of the
// engine's command line, such as "--config-file=/tmp/store.xml". A path that
// another process has open is an error.
func (l *Library) Start(path string, args ...string) (*Engine, error) {
	cell, err := l.connect(append([]string{"--path=" + path}, args...))
	if err != nil {
		return nil, fmt.Errorf("opening the data directory %s: %w", path, err)
	}
	return &Engine{lib: l, path: path, master: cell}, nil
}

// Connect opens a connection whose session has the given settings. Values are
// checked by the engine, names are not.
func (e *Engine) Connect(settings ...Setting) (*Conn, error) {
	args := make([]string, 0, len(settings)+1)
	args = append(args, "--path="+e.path)
	for _, s := range settings {
		args = append(args, "--"+s.Name+"="+s.Value)
	}
	cell, err := e.lib.connect(args)
	if err != nil {
		return nil, fmt.Errorf("opening a connection: %w", err)
	}
	return &Conn{lib: e.lib, cell: cell, handle: handleOf(cell)}, nil
}

// Close stops the engine: background work ends, tables are closed and the
// directory is free for another process. Every Conn must be closed before.
//
// chdb_shutdown, which would join the idle threads too, is not called: in
// 26.7.3 it refuses once a MergeTree table was open, and a process that exits
// does not need it.
func (e *Engine) Close() {
	if e.master == 0 {
		return
	}
	e.lib.c.closeConn(e.master)
	e.master = 0
}

// connect returns the cell that holds the connection's handle.
func (l *Library) connect(args []string) (uintptr, error) {
	argv := make([]unsafe.Pointer, 0, len(args)+2)
	var pin runtime.Pinner
	defer pin.Unpin()
	for _, arg := range append([]string{"chdb"}, args...) {
		c := append([]byte(arg), 0)
		pin.Pin(&c[0])
		argv = append(argv, unsafe.Pointer(&c[0]))
	}
	argv = append(argv, nil)
	pin.Pin(&argv[0])
	cell := l.c.connect(int32(len(argv)-1), unsafe.Pointer(&argv[0]))
	if cell == 0 {
		return 0, errors.New("the engine refused: the directory is in use by another process or cannot be written, or a setting has an invalid value")
	}
	if handleOf(cell) == 0 {
		l.c.closeConn(cell)
		return 0, errors.New("the engine returned no connection")
	}
	return cell, nil
}

// handleOf reads the connection handle out of a cell. The pointer comes from
// C, so it is reinterpreted through its address rather than converted.
func handleOf(cell uintptr) uintptr {
	return **(**uintptr)(unsafe.Pointer(&cell))
}
