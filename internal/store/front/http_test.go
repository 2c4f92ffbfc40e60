package front_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"kohort.dev/kohort/internal/store/access"
	"kohort.dev/kohort/internal/store/front"
	"kohort.dev/kohort/internal/store/storetest"
	"kohort.dev/kohort/internal/store/warehouse"
)

// reply is an answer without its body.
type reply struct {
	StatusCode int
	Header     http.Header
}

// call sends one request as the store's user and returns the answer.
func call(t *testing.T, method, target string, body io.Reader, change ...func(*http.Request)) (reply, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, target, body)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(storetest.User, storetest.Password)
	for _, c := range change {
		c(req)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("reading the answer: %v", err)
	}
	return reply{res.StatusCode, res.Header}, string(text)
}

func query(base, sql string, more ...string) string {
	v := url.Values{"query": {sql}}
	for i := 0; i < len(more); i += 2 {
		v.Set(more[i], more[i+1])
	}
	return base + "/?" + v.Encode()
}

func TestAuthentication(t *testing.T) {
	base, user, password := storetest.Warehouse(t)
	for _, c := range []struct {
		why    string
		target string
		change func(*http.Request)
		status int
	}{
		{"basic authentication", query(base, "SELECT 1"), func(r *http.Request) { r.SetBasicAuth(user, password) }, 200},
		{"ClickHouse's own headers", query(base, "SELECT 1"), func(r *http.Request) {
			r.Header = http.Header{"X-Clickhouse-User": {user}, "X-Clickhouse-Key": {password}}
		}, 200},
		{"the URL", query(base, "SELECT 1", "user", user, "password", password), func(r *http.Request) { r.Header = nil }, 200},
		{"none at all", query(base, "SELECT 1"), func(r *http.Request) { r.Header = nil }, 401},
		{"a wrong password", query(base, "SELECT 1"), func(r *http.Request) { r.SetBasicAuth(user, password+"x") }, 403},
		{"a prefix of the password", query(base, "SELECT 1"), func(r *http.Request) { r.SetBasicAuth(user, password[:4]) }, 403},
		{"the engine's own user, who has no password", query(base, "SELECT 1"), func(r *http.Request) { r.SetBasicAuth("default", "") }, 403},
		{"liveness needs none", base + "/ping", func(r *http.Request) { r.Header = nil }, 200},
		{"readiness needs none", base + "/ready", func(r *http.Request) { r.Header = nil }, 200},
		{"metrics need none", base + "/metrics", func(r *http.Request) { r.Header = nil }, 200},
		{"there is nothing else", base + "/play", func(*http.Request) {}, 404},
	} {
		req, err := http.NewRequest(http.MethodGet, c.target, nil)
		if err != nil {
			t.Fatal(err)
		}
		c.change(req)
		if req.Header == nil {
			req.Header = http.Header{}
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != c.status {
			t.Errorf("%s: status %d, want %d", c.why, res.StatusCode, c.status)
		}
	}
}

func TestReadOnlyUser(t *testing.T) {
	reader := access.Credentials{Username: "reader", Password: "reads"}
	p := storetest.StartWarehouse(t, warehouse.Config{ReadOnly: &reader})
	as := func(r *http.Request) { r.SetBasicAuth(reader.Username, reader.Password) }
	call(t, http.MethodPost, p.URL, strings.NewReader("CREATE TABLE t (a UInt8) ENGINE = Memory"))
	for _, c := range []struct {
		why, sql string
		status   int
	}{
		{"reading", "SELECT count() FROM t", 200},
		{"settings of one's own query would undo the limits", "SELECT 1 SETTINGS readonly = 0", 403},
		{"looking at tables", "SHOW TABLES", 200},
		{"writing", "INSERT INTO t VALUES (1)", 403},
		{"writing rows in the body", "INSERT INTO t FORMAT CSV\n1\n", 403},
		{"changing", "DROP TABLE t", 403},
		{"killing", "KILL QUERY WHERE 1", 403},
		{"evaluating an expression hidden in a text", `SELECT * FROM format(Values, 'a String', '(file(\'/etc/passwd\'))')`, 403},
	} {
		res, text := call(t, http.MethodPost, p.URL, strings.NewReader(c.sql), as)
		if res.StatusCode != c.status {
			t.Errorf("%s: %s gave status %d, want %d: %s", c.why, c.sql, res.StatusCode, c.status, text)
		}
	}
	if res, text := call(t, http.MethodGet, query(p.URL, "DROP TABLE t"), nil); res.StatusCode != 403 {
		t.Errorf("a GET that drops a table gave status %d, want 403, for a link must not change anything: %s", res.StatusCode, text)
	}
}

// Rows may come after the statement in the body, in the body alone with the
// statement in the URL, or in both; and compressed.
func TestInsertBodies(t *testing.T) {
	base, _, _ := storetest.Warehouse(t)
	call(t, http.MethodPost, base, strings.NewReader("CREATE TABLE t (a UInt64, b String) ENGINE = MergeTree ORDER BY a"))
	big := &strings.Builder{}
	for i := range 300_000 { // 5 MB: longer than a statement may be
		fmt.Fprintf(big, "%d\tvalue %d\n", i, i)
	}
	zipped := &bytes.Buffer{}
	z := gzip.NewWriter(zipped)
	io.WriteString(z, big.String())
	z.Close()
	values := &strings.Builder{}
	values.WriteString("INSERT INTO t (a, b) VALUES ")
	for i := range 300_000 {
		fmt.Fprintf(values, "(%d, 'value; (%d)'),", i, i)
	}
	for _, c := range []struct {
		why    string
		target string
		body   string
		change func(*http.Request)
		rows   string
	}{
		{"all in the body", base, "INSERT INTO t FORMAT TSV\n1\tx\n2\ty\n", nil, "2"},
		{"statement in the URL", query(base, "INSERT INTO t FORMAT TSV"), "1\tx\n", nil, "1"},
		{"the first rows in the URL", query(base, "INSERT INTO t FORMAT TSV\n1\tx\n"), "2\ty\n", nil, "2"},
		{"a statement in two parts", query(base, "INSERT INTO t"), "VALUES (1, 'x')", nil, "1"},
		{"a body longer than a statement may be", base, "INSERT INTO t FORMAT TSV\n" + big.String(), nil, "300000"},
		{"VALUES longer than a statement may be", base, strings.TrimSuffix(values.String(), ","), nil, "300000"},
		{"a compressed body", query(base, "INSERT INTO t FORMAT TSV"), zipped.String(),
			func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }, "300000"},
		{"no rows", query(base, "INSERT INTO t FORMAT TSV"), "", nil, "0"},
		{"settings before the format", base, "INSERT INTO t SETTINGS input_format_parallel_parsing = 0 FORMAT CSV 7,\"q\"\n", nil, "1"},
	} {
		if c.change == nil {
			c.change = func(*http.Request) {}
		}
		res, text := call(t, http.MethodPost, c.target, strings.NewReader(c.body), c.change)
		if res.StatusCode != 200 {
			t.Errorf("%s: status %d: %.300s", c.why, res.StatusCode, text)
			continue
		}
		if summary := res.Header.Get("X-ClickHouse-Summary"); !strings.Contains(summary, `"written_rows":"`+c.rows+`"`) {
			t.Errorf("%s: the summary is %s, want %s written rows", c.why, summary, c.rows)
		}
		if _, got := call(t, http.MethodPost, base, strings.NewReader("SELECT count() FROM t")); got != c.rows+"\n" {
			t.Errorf("%s: the table holds %s rows, want %s", c.why, got, c.rows)
		}
		call(t, http.MethodPost, base, strings.NewReader("TRUNCATE TABLE t"))
	}
}

// A body that ends too early must not be taken for a shorter one.
func TestBrokenBodiesStoreNothing(t *testing.T) {
	base, _, _ := storetest.Warehouse(t)
	call(t, http.MethodPost, base, strings.NewReader("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a"))
	zipped := &bytes.Buffer{}
	z := gzip.NewWriter(zipped)
	for i := range 100_000 {
		fmt.Fprintln(z, i)
	}
	z.Close()
	half := zipped.Bytes()[:zipped.Len()/2]
	res, text := call(t, http.MethodPost, query(base, "INSERT INTO t FORMAT TSV"), bytes.NewReader(half),
		func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") })
	if res.StatusCode != 400 {
		t.Errorf("half a compressed body gave status %d, want 400: %s", res.StatusCode, text)
	}
	// A chunked body whose sender dies in the middle.
	c, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(c, "POST /?query=INSERT+INTO+t+FORMAT+TSV HTTP/1.1\r\nHost: x\r\nX-ClickHouse-User: %s\r\nX-ClickHouse-Key: %s\r\n"+
		"Transfer-Encoding: chunked\r\n\r\n8\r\n1\n2\n3\n4\n\r\n", storetest.User, storetest.Password)
	time.Sleep(50 * time.Millisecond) // the rows reach the engine
	c.Close()
	time.Sleep(200 * time.Millisecond) // a wrong commit would have come by now
	if _, got := call(t, http.MethodPost, base, strings.NewReader("SELECT count() FROM t")); got != "0\n" {
		t.Errorf("the table holds %s rows of broken bodies, want 0", got)
	}
}

func TestAnswers(t *testing.T) {
	base, _, _ := storetest.Warehouse(t)
	res, text := call(t, http.MethodPost, base, strings.NewReader("SELECT 1 AS a FORMAT JSONEachRow"))
	if text != "{\"a\":1}\n" || res.Header.Get("X-ClickHouse-Format") != "JSONEachRow" || !strings.HasPrefix(res.Header.Get("Content-Type"), "application/x-ndjson") {
		t.Errorf("a query in JSON gave %q with %v", text, res.Header)
	}
	if res, _ := call(t, http.MethodPost, query(base, "SELECT 1", "query_id", "mine\r\nX-Evil: 1"), nil); res.Header.Get("X-Evil") != "" || res.Header.Get("X-ClickHouse-Query-Id") != "mineX-Evil: 1" {
		t.Errorf("a query id with a line break gave the headers %v", res.Header)
	}
	// Bytes of a text that looks like the end of a statement stay what they are.
	if _, text := call(t, http.MethodPost, query(base, "SELECT {a:String} FORMAT TSVRaw", "param_a", `x';\\DROP`), nil); text != "x';\\DROP\n" {
		t.Errorf("a parameter came back as %q", text)
	}
	if res, text := call(t, http.MethodPost, query(base, "SELECT throwIf(number = 500000) FROM numbers(1000000)", "wait_end_of_query", "1"), nil); res.StatusCode != 500 || res.Header.Get("X-ClickHouse-Exception-Code") != "395" {
		t.Errorf("a late error with wait_end_of_query gave status %d: %.200s", res.StatusCode, text)
	}
	for _, name := range []string{"session_id", "role"} {
		if res, text := call(t, http.MethodPost, query(base, "SELECT 1", name, "x"), nil); res.StatusCode != 501 || !strings.Contains(text, name) {
			t.Errorf("%s, which the store does not have, gave status %d: %s", name, res.StatusCode, text)
		}
	}
}

func TestLimits(t *testing.T) {
	p := storetest.StartWarehouse(t, warehouse.Config{Limits: front.Limits{
		Concurrent: 2, Queue: 2, QueueTimeout: 300 * time.Millisecond, QueryBytes: 1000, BodyBytes: 5000, IdleTimeout: 500 * time.Millisecond,
	}})
	call(t, http.MethodPost, p.URL, strings.NewReader("CREATE TABLE t (a UInt64) ENGINE = Memory"))
	if res, text := call(t, http.MethodPost, p.URL, strings.NewReader("SELECT "+strings.Repeat("1+", 600)+"1")); res.StatusCode != 413 || !strings.Contains(text, "1000 bytes") {
		t.Errorf("a long statement gave status %d: %s", res.StatusCode, text)
	}
	if res, text := call(t, http.MethodPost, query(p.URL, "INSERT INTO t FORMAT TSV"), strings.NewReader(strings.Repeat("1\n", 5000))); res.StatusCode != 413 || !strings.Contains(text, "5000 bytes") {
		t.Errorf("a long body gave status %d: %s", res.StatusCode, text)
	}

	t.Run("a body that stalls gives its place up", func(t *testing.T) {
		r, w := io.Pipe()
		defer w.Close()
		go io.WriteString(w, "1\n")
		begun := time.Now()
		res, _ := call(t, http.MethodPost, query(p.URL, "INSERT INTO t FORMAT TSV"), r)
		if res.StatusCode != 408 || time.Since(begun) > 5*time.Second {
			t.Errorf("status %d after %s, want 408 after half a second", res.StatusCode, time.Since(begun))
		}
	})

	t.Run("too many statements", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		for range 2 {
			wg.Go(func() {
				req, _ := http.NewRequestWithContext(ctx, http.MethodPost, p.URL, strings.NewReader("SELECT sleepEachRow(0.05) FROM numbers(1000) SETTINGS max_block_size = 1, function_sleep_max_microseconds_per_block = 0"))
				req.SetBasicAuth(storetest.User, storetest.Password)
				if res, err := http.DefaultClient.Do(req); err == nil {
					io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
			})
		}
		deadline := time.Now().Add(5 * time.Second)
		for {
			_, metrics := call(t, http.MethodGet, p.URL+"/metrics", nil)
			if strings.Contains(metrics, "kohort_warehouse_running_statements 2\n") {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the two slow statements do not run")
			}
		}
		res, text := call(t, http.MethodPost, p.URL, strings.NewReader("SELECT 1"))
		if res.StatusCode != 503 || res.Header.Get("Retry-After") == "" || res.Header.Get("X-ClickHouse-Exception-Code") != "202" {
			t.Errorf("a statement that waits in vain gave status %d with %v: %s", res.StatusCode, res.Header, text)
		}
		if res, _ := call(t, http.MethodGet, p.URL+"/ready", nil); res.StatusCode != 200 {
			t.Errorf("a store that is busy is not ready: status %d", res.StatusCode)
		}
	})
	if _, text := call(t, http.MethodPost, p.URL, strings.NewReader("SELECT 1")); text != "1\n" {
		t.Errorf("after the slow statements were cancelled SELECT 1 gives %q", text)
	}
}
