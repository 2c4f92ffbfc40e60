package front

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"kohort.dev/kohort/internal/store/chdb"
)

// request is what a client asks for, apart from the body.
type request struct {
	query      string // of the URL; the statement or its first part
	database   string
	format     string // output format when the statement names none
	queryID    string
	params     []chdb.Param
	settings   []chdb.Setting
	compress   bool // frame the answer's blocks (ClickHouse's own framing)
	decompress bool // the body is framed so
	protocol   bool // the client offered a revision of the native protocol
	whole      bool // answer only when the statement has ended
	gzip       bool
	encoding   string // of the body
	codec      codec
}

// parse reads the request line and the headers.
func parse(r *http.Request) (*request, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badRequest("the URL's parameters cannot be read: %s", err)
	}
	q := &request{
		database: r.Header.Get("X-ClickHouse-Database"),
		format:   r.Header.Get("X-ClickHouse-Format"),
		gzip:     acceptsGzip(r.Header.Get("Accept-Encoding")),
		encoding: strings.ToLower(r.Header.Get("Content-Encoding")),
	}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/") {
		return nil, unsupported("external tables (multipart bodies) are not supported; use a join or an IN over a literal list")
	}
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		v := values[name]
		if err := q.take(name, v[len(v)-1]); err != nil {
			return nil, err
		}
	}
	return q, nil
}

// take reads one parameter of the URL.
func (q *request) take(name, value string) error {
	switch name {
	case "query":
		q.query = value
	case "database":
		q.database = value
	case "default_format":
		q.format = value
	case "query_id":
		q.queryID = value
	case "compress":
		q.compress = isOn(value)
	case "decompress":
		q.decompress = isOn(value)
	case "wait_end_of_query":
		q.whole = isOn(value)
	case "client_protocol_version":
		q.protocol = value != "" && value != "0"
	case "enable_http_compression":
		q.gzip = q.gzip && isOn(value)
	case "network_compression_method":
		return q.codec.method(value)
	case "network_zstd_compression_level":
		return q.codec.level(value)
	case "session_id", "session_timeout", "session_check":
		return unsupported("sessions are not supported: every request stands alone, so leave %s out", name)
	case "role":
		return unsupported("roles are not supported, so leave role out")
	case "user", "password", "quota_key", "stacktrace", "buffer_size", "readonly":
		// The first two were read by authentication, the others change nothing
		// here; readonly is the user's, not the request's, to say.
		if name == "readonly" && isOn(value) {
			q.settings = append(q.settings, chdb.Setting{Name: name, Value: value})
		}
	default:
		if param, ok := strings.CutPrefix(name, "param_"); ok {
			q.params = append(q.params, chdb.Param{Name: param, Value: value})
			return nil
		}
		if !isName(name) {
			return refuse(http.StatusNotFound, 115, "UNKNOWN_SETTING", "%q is not the name of a setting", name)
		}
		q.settings = append(q.settings, chdb.Setting{Name: name, Value: value})
	}
	return nil
}

func isOn(v string) bool { return v != "" && v != "0" && !strings.EqualFold(v, "false") }

// isName says whether s can be a setting's name, and so stand unquoted in SQL.
func isName(s string) bool {
	for i, c := range []byte(s) {
		letter := c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

func acceptsGzip(header string) bool {
	for part := range strings.SplitSeq(header, ",") {
		name, weight, _ := strings.Cut(strings.TrimSpace(part), ";")
		if strings.TrimSpace(name) == "gzip" {
			return strings.ReplaceAll(weight, " ", "") != "q=0"
		}
	}
	return false
}

// credentials finds user and password where ClickHouse's clients put them:
// basic authentication, headers of their own, or the URL.
func credentials(r *http.Request) (user, password string) {
	if user, password, ok := r.BasicAuth(); ok {
		return user, password
	}
	if user := r.Header.Get("X-ClickHouse-User"); user != "" {
		return user, r.Header.Get("X-ClickHouse-Key")
	}
	q := r.URL.Query()
	return q.Get("user"), q.Get("password")
}
