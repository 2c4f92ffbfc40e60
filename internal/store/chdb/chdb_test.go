package chdb_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"kohort.dev/kohort/internal/store/chdb"
)

// library finds libchdb.so as storetest.Library does; storetest itself runs the
// engine in another process, and here it must be this one.
func library(t *testing.T) string {
	t.Helper()
	path := os.Getenv("CHDB_LIB_PATH")
	if path == "" {
		cache := os.Getenv("KOHORT_CACHE")
		if cache == "" {
			dir, err := os.UserCacheDir()
			if err != nil {
				t.Fatal(err)
			}
			cache = dir + "/kohort"
		}
		path = cache + "/chdb/26.7.3-stable.1/libchdb.so"
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("the ClickHouse engine is missing (%v): run `make chdb`, or set CHDB_LIB_PATH", err)
	}
	return path
}

// A process has one engine, so this is one test.
func TestEngine(t *testing.T) {
	if _, err := chdb.Load("/nowhere/libchdb.so"); err == nil || !strings.Contains(err.Error(), "/nowhere/libchdb.so") {
		t.Errorf("a library that is not there gave %v, want an error that names it", err)
	}
	lib, err := chdb.Load(library(t))
	if err != nil {
		t.Fatal(err)
	}
	if got := lib.Version(); got != "26.7.3" {
		t.Errorf("the library is version %s; the front relies on what 26.7.3 does", got)
	}
	dir := t.TempDir()
	engine, err := lib.Start(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	connect := func(t *testing.T, settings ...chdb.Setting) *chdb.Conn {
		t.Helper()
		c, err := engine.Connect(settings...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	text := func(t *testing.T, c *chdb.Conn, sql string, params ...chdb.Param) string {
		t.Helper()
		out, _, err := c.Query(sql, "TSVRaw", params...)
		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		return strings.TrimSuffix(string(out), "\n")
	}
	setup := connect(t)
	if err := setup.Exec("CREATE TABLE default.t (a UInt64, b String) ENGINE = MergeTree ORDER BY a"); err != nil {
		t.Fatal(err)
	}

	t.Run("parameters are text, never SQL", func(t *testing.T) {
		c := connect(t)
		for _, v := range []string{"", "it's", `tab\tand\nbreak`, "ä\x01", "'); DROP TABLE default.t; --"} {
			want := strings.NewReplacer(`\t`, "\t", `\n`, "\n").Replace(v)
			if got := text(t, c, "SELECT {v:String}, {n:UInt8}", chdb.Param{Name: "v", Value: v}, chdb.Param{Name: "n", Value: "7"}); got != want+"\t7" {
				t.Errorf("%q came back as %q", v, got)
			}
		}
	})

	t.Run("settings belong to one connection", func(t *testing.T) {
		with, without := connect(t, chdb.Setting{Name: "max_threads", Value: "7"}), connect(t)
		const sql = "SELECT getSetting('max_threads')"
		if got := text(t, with, sql); got != "7" {
			t.Errorf("the setting is %s, want 7", got)
		}
		if got := text(t, without, sql); got == "7" {
			t.Error("the setting is that of another connection")
		}
		if _, err := engine.Connect(chdb.Setting{Name: "max_threads", Value: "many"}); err == nil {
			t.Error("a setting with a value that is none gave no error")
		}
	})

	t.Run("errors have ClickHouse's code", func(t *testing.T) {
		c := connect(t)
		var ex *chdb.Exception
		if err := c.Exec("SELECT * FROM nowhere"); !errors.As(err, &ex) || ex.Code != 60 || !strings.HasPrefix(ex.Message, "Code: 60.") {
			t.Errorf("an unknown table gave %v", err)
		}
		rows, err := c.Stream("SELECT nope", "CSV")
		if err == nil { // the engine may say so only with the first chunk
			_, err = rows.Next()
			rows.Close()
		}
		if !errors.As(err, &ex) || ex.Code != 47 {
			t.Errorf("an unknown column in a stream gave %v", err)
		}
		if _, err := c.Insert("INSERT INTO nowhere", "CSV"); !errors.As(err, &ex) || ex.Code != 60 {
			t.Errorf("an insert into an unknown table gave %v", err)
		}
		if got := text(t, c, "SELECT 1"); got != "1" {
			t.Errorf("after errors SELECT 1 gives %s", got)
		}
	})

	t.Run("a stream is read in chunks", func(t *testing.T) {
		c := connect(t)
		rows, err := c.Stream("SELECT number FROM numbers(300000)", "TSV")
		if err != nil {
			t.Fatal(err)
		}
		var all bytes.Buffer
		chunks := 0
		for {
			chunk, err := rows.Next()
			if err != nil {
				t.Fatal(err)
			}
			if chunk == nil {
				break
			}
			chunks++
			all.Write(chunk)
		}
		rows.Close()
		if n := bytes.Count(all.Bytes(), []byte{'\n'}); n != 300000 || chunks < 3 || rows.Stats().RowsReturned != 300000 {
			t.Errorf("%d rows in %d chunks, statistics %+v", n, chunks, rows.Stats())
		}
		if chunk, err := rows.Next(); chunk != nil || err != nil {
			t.Errorf("after the end came %q and %v", chunk, err)
		}
		late, err := c.Stream("SELECT throwIf(number = 200000) FROM numbers(300000)", "TSV")
		if err != nil {
			t.Fatal(err)
		}
		defer late.Close()
		var ex *chdb.Exception
		for err == nil {
			var chunk []byte
			if chunk, err = late.Next(); err == nil && chunk == nil {
				t.Fatal("a query that fails in the middle ended well")
			}
		}
		if !errors.As(err, &ex) || ex.Code != 395 {
			t.Errorf("a query that fails in the middle gave %v", err)
		}
	})

	t.Run("blocks without rows do not end a stream", func(t *testing.T) {
		c := connect(t, chdb.Setting{Name: "max_block_size", Value: "1000"}, chdb.Setting{Name: "max_threads", Value: "2"})
		for _, format := range []string{"TSV", "Native", "JSONEachRow", "RowBinary"} {
			// One row in 100,000: nearly every block is empty after the filter.
			rows, err := c.Stream("SELECT 'z' AS c FROM numbers_mt(10000000) WHERE number % 100000 = 99999", format)
			if err != nil {
				t.Fatal(err)
			}
			got := 0
			for {
				chunk, err := rows.Next()
				if err != nil {
					t.Fatal(err)
				}
				if chunk == nil {
					break
				}
				got += bytes.Count(chunk, []byte{'z'})
			}
			if rows.Close(); got != 100 {
				t.Errorf("%s: %d rows arrived, want 100", format, got)
			}
		}
	})

	t.Run("a stream may be left early", func(t *testing.T) {
		for range 20 {
			c, err := engine.Connect()
			if err != nil {
				t.Fatal(err)
			}
			rows, err := c.Stream("SELECT number FROM numbers_mt(100000000000)", "TSV")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := rows.Next(); err != nil {
				t.Fatal(err)
			}
			rows.Close()
			c.Close()
		}
	})

	t.Run("an insert commits all or nothing", func(t *testing.T) {
		c := connect(t)
		ins, err := c.Insert("INSERT INTO default.t (a, b)", "TSV")
		if err != nil {
			t.Fatal(err)
		}
		for i := range 1000 { // chunks that end in the middle of a row
			line := fmt.Sprintf("%d\tvalue\n", i)
			if err := errors.Join(ins.Append([]byte(line[:2])), ins.Append([]byte(line[2:]))); err != nil {
				t.Fatal(err)
			}
		}
		stats, err := ins.Commit()
		ins.Close()
		if err != nil || stats.RowsWritten != 1000 {
			t.Errorf("the commit reports %+v and error %v, want 1000 rows", stats, err)
		}
		ins, err = c.Insert("INSERT INTO default.t (a, b)", "TSV")
		if err != nil {
			t.Fatal(err)
		}
		if err := ins.Append([]byte("5000\tx\n5001\ty\n")); err != nil {
			t.Fatal(err)
		}
		ins.Close()
		ins, err = c.Insert("INSERT INTO default.t (a, b)", "TSV")
		if err != nil {
			t.Fatal(err)
		}
		appended := ins.Append([]byte("6000\tx\nnot a number\ty\n"))
		_, err = ins.Commit()
		ins.Close()
		var ex *chdb.Exception
		if !errors.As(errors.Join(appended, err), &ex) || ex.Code == 0 {
			t.Errorf("rows that cannot be read gave %v and %v", appended, err)
		}
		if got := text(t, c, "SELECT count(), max(a) FROM default.t"); got != "1000\t999" {
			t.Errorf("the table holds (count, max) %s, want 1000 and 999", got)
		}
	})

	t.Run("classification", func(t *testing.T) {
		c := connect(t)
		for sql, want := range map[string]chdb.Analysis{
			"SELECT 1":                                {Statements: 1, Class: chdb.ReadOnly},
			"SELECT 1; SELECT 2":                      {Statements: 2, Class: chdb.ReadOnly},
			"SELECT ';'; -- nothing follows":          {Statements: 1, Class: chdb.ReadOnly},
			"INSERT INTO t FORMAT Native":             {Statements: 1, Class: chdb.Mutating},
			"SELECT 1 INTO OUTFILE 'x'":               {Statements: 1, Class: chdb.Control},
			"INSERT INTO FUNCTION file('x') SELECT 1": {Statements: 1, Class: chdb.Control},
			"DROP TABLE a PARALLEL WITH DROP TABLE b": {Statements: 2, Class: chdb.Mutating},
			"CREATE FUNCTION f AS x -> x":             {Statements: 1, Class: chdb.MutatingGlobal},
			"SELEKT":                                  {Class: chdb.Unknown},
			"":                                        {Class: chdb.Unknown},
		} {
			if sql == "SELEKT" {
				// Without the store's configuration the engine reads a lone word as
				// SELECT of it.
				if err := c.Exec("SET implicit_select = 0"); err != nil {
					t.Fatal(err)
				}
			}
			if got, err := c.Classify(sql); err != nil || got != want {
				t.Errorf("%q is %+v (error %v), want %+v", sql, got, err, want)
			}
		}
	})

	t.Run("Go's own signal handlers stay", func(t *testing.T) {
		defer func() {
			if r := recover(); r == nil {
				t.Error("a nil dereference did not panic")
			}
		}()
		var p *chdb.Exception
		_ = p.Error()
	})
}
