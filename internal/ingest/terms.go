package ingest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"kohort.dev/kohort/internal/trackingplan"
	"kohort.dev/kohort/internal/warehouse"
)

// Terms are what events are judged by before anybody asks whose they are: for each Source its tracking plan and its
// window of deduplication. A batch's plan names its terms, so that a replay judges as the first try did.
type Terms struct {
	// Sources by name. What is not here has no plan and the default window.
	Sources map[string]SourceTerms
}

// SourceTerms are those of one Source.
type SourceTerms struct {
	// Plan in force, nil for none.
	Plan *trackingplan.Plan
	// Refusal is why no event can be judged: the Source has a plan, and no version of it was ever usable. Its events wait
	// in quarantine.
	Refusal string
	// Window of deduplication, 0 for the default.
	Window time.Duration
}

// recorded is Terms as the table ingest_terms keeps them; plans are rows of their own.
type recorded map[string]recordedSource

type recordedSource struct {
	Plan    string        `json:"plan,omitempty"` // hash
	Refusal string        `json:"refusal,omitempty"`
	Window  time.Duration `json:"window,omitempty"` // nanoseconds
}

// inForce are terms that are recorded.
type inForce struct {
	hash    string
	sources map[string]SourceTerms
	windows map[string]time.Duration
}

func newInForce(hash string, sources map[string]SourceTerms) inForce {
	f := inForce{hash, sources, map[string]time.Duration{}}
	for name, s := range sources {
		if s.Window > 0 {
			f.windows[name] = min(s.Window, LongestWindow)
		}
	}
	return f
}

// termsLedger is the table ingest_terms.
type termsLedger struct {
	conn    driver.Conn
	clock   func() time.Time
	current inForce
	known   map[string]struct{} // hashes that are in the table
}

// record writes terms down unless they are, and gives their hash.
func (l *termsLedger) record(ctx context.Context, t Terms) (string, error) {
	if len(t.Sources) == 0 {
		l.current = newInForce("", nil)
		return "", nil
	}
	contents := map[string]string{}
	all := recorded{}
	for name, s := range t.Sources {
		one := recordedSource{Refusal: s.Refusal, Window: s.Window}
		if s.Plan != nil {
			one.Plan = s.Plan.Hash()
			contents[one.Plan] = s.Plan.Document()
		}
		all[name] = one
	}
	text, err := json.Marshal(all) // sorted by name
	if err != nil {
		return "", fmt.Errorf("writing down the terms: %w", err)
	}
	sum := sha256.Sum256(text)
	hash := hex.EncodeToString(sum[:])
	if hash == l.current.hash {
		return hash, nil
	}
	contents[hash] = string(text)
	if err := l.keep(ctx, contents); err != nil {
		return "", err
	}
	l.current = newInForce(hash, t.Sources)
	return hash, nil
}

// keep inserts what is not in the table.
func (l *termsLedger) keep(ctx context.Context, contents map[string]string) error {
	if l.known == nil {
		l.known = map[string]struct{}{}
	}
	var hashes, texts []string
	var at []time.Time
	for hash, text := range contents {
		if _, is := l.known[hash]; !is {
			hashes, texts, at = append(hashes, hash), append(texts, text), append(at, l.clock())
		}
	}
	if len(hashes) == 0 {
		return nil
	}
	err := warehouse.Retry(ctx, func() error {
		return warehouse.Insert(ctx, l.conn, "ingest_terms", "",
			warehouse.Column{Name: "hash", Type: typeString, Values: hashes},
			warehouse.Column{Name: "content", Type: typeString, Values: texts},
			warehouse.Column{Name: "at", Type: typeMillis, Values: at})
	})
	if err != nil {
		return fmt.Errorf("writing down the terms: %w", err)
	}
	for _, hash := range hashes {
		l.known[hash] = struct{}{}
	}
	return nil
}

// use makes the terms with a hash the current ones.
func (l *termsLedger) use(ctx context.Context, hash string) error {
	if hash == l.current.hash {
		return nil
	}
	sources, err := readTerms(ctx, l.conn, hash)
	if err != nil {
		return err
	}
	l.current = newInForce(hash, sources)
	return nil
}

// LastTerms are those of the newest batch that is stored; empty when there is none.
func LastTerms(ctx context.Context, conn driver.Conn) (Terms, error) {
	var hash string
	err := warehouse.Retry(ctx, func() error {
		return conn.QueryRow(ctx, "SELECT argMax(terms, last_seq) FROM ingest_log WHERE state = 'done'").Scan(&hash)
	})
	if err != nil {
		return Terms{}, fmt.Errorf("reading which terms are in force: %w", err)
	}
	sources, err := readTerms(ctx, conn, hash)
	return Terms{sources}, err
}

func readTerms(ctx context.Context, conn driver.Conn, hash string) (map[string]SourceTerms, error) {
	if hash == "" {
		return nil, nil
	}
	text, err := readContent(ctx, conn, hash)
	if err != nil {
		return nil, err
	}
	var all recorded
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		return nil, fmt.Errorf("reading the terms %s: %w", hash, err)
	}
	sources := make(map[string]SourceTerms, len(all))
	for name, r := range all {
		s := SourceTerms{Refusal: r.Refusal, Window: r.Window}
		if r.Plan != "" {
			document, err := readContent(ctx, conn, r.Plan)
			if err != nil {
				return nil, err
			}
			if s.Plan, err = trackingplan.Read(document); err != nil {
				return nil, fmt.Errorf("the tracking plan that Source %s had in the terms %s: %w", name, hash, err)
			}
		}
		sources[name] = s
	}
	return sources, nil
}

func readContent(ctx context.Context, conn driver.Conn, hash string) (string, error) {
	var text string
	var n uint64
	err := warehouse.Retry(ctx, func() error {
		return conn.QueryRow(ctx, fmt.Sprintf("SELECT any(content), count() FROM ingest_terms WHERE hash = '%s'", hash)).Scan(&text, &n)
	})
	if err == nil && n == 0 {
		err = fmt.Errorf("they are not in the table ingest_terms")
	}
	if err != nil {
		return "", fmt.Errorf("reading the terms %s: %w", hash, err)
	}
	return text, nil
}
