package warehouse

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Database is where all tables of a Platform are.
const Database = "kohort"

const (
	// openWait bounds Open: a store pod that is being scheduled needs longer than one that restarts, and a worker that
	// cannot reach its store should end and say why.
	openWait = 60 * time.Second
	// redialWait bounds how long one request waits while the store refuses connections: the embedded store is back
	// 0.3 to 0.5 s after it was killed.
	redialWait = 10 * time.Second
	// maxConnections of one process to the store, and those kept when idle: each keeps a buffer as large as the largest
	// insert that it carried.
	maxConnections     = 16
	maxIdleConnections = 4
)

// Open reaches the warehouse at rawURL (http://host:port) with the user and password in the files username and password
// of credentialsDir, makes the database when it is missing, and returns when it has answered. An empty credentialsDir
// means no credentials.
//
// A store that refuses connections, or is starting, is waited for, at most a minute. Afterwards each request waits some
// seconds for a refused connection; what fails otherwise is for the caller to try again, see [IsRetryable]. The
// credentials are read for every request, so that a rotated Secret is taken up.
func Open(ctx context.Context, rawURL, credentialsDir string) (driver.Conn, error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" || u.Scheme != "http" {
		return nil, fmt.Errorf("opening the warehouse: %q is not a URL such as http://shop-warehouse.crm.svc:8123", rawURL)
	}
	if credentialsDir != "" {
		if _, _, err := readCredentials(credentialsDir); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, openWait)
	defer cancel()
	if err := ensureDatabase(ctx, u.Host, credentialsDir); err != nil {
		return nil, fmt.Errorf("opening the warehouse at %s: %w", rawURL, err)
	}
	conn, err := dial(u.Host, credentialsDir, Database)
	if err != nil {
		return nil, fmt.Errorf("opening the warehouse at %s: %w", rawURL, err)
	}
	if err := Retry(ctx, func() error { return conn.Ping(ctx) }); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("opening the warehouse at %s: %w", rawURL, err)
	}
	return conn, nil
}

// ensureDatabase makes the database over a connection of its own, for no request that names a missing one is answered.
func ensureDatabase(ctx context.Context, host, credentialsDir string) error {
	conn, err := dial(host, credentialsDir, "default")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	return Retry(ctx, func() error { return conn.Exec(ctx, "CREATE DATABASE IF NOT EXISTS "+Database) })
}

func dial(host, credentialsDir, database string) (driver.Conn, error) {
	return clickhouse.Open(&clickhouse.Options{
		Protocol:        clickhouse.HTTP,
		Addr:            []string{host},
		Auth:            clickhouse.Auth{Database: database},
		DialContext:     patientDial,
		DialTimeout:     redialWait + 5*time.Second,
		MaxOpenConns:    maxConnections,
		MaxIdleConns:    maxIdleConnections,
		ConnMaxLifetime: 10 * time.Minute,
		TransportFunc: func(t *http.Transport) (http.RoundTripper, error) {
			if credentialsDir == "" {
				return t, nil
			}
			return authenticated{next: t, dir: credentialsDir}, nil
		},
	})
}

// patientDial dials until the store takes the connection or redialWait is over. A refused connection carried nothing, so
// dialling again is always safe.
func patientDial(ctx context.Context, addr string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: 5 * time.Second}
	deadline := time.Now().Add(redialWait)
	for {
		conn, err := dialer.DialContext(ctx, "tcp", addr)
		if err == nil || !errors.Is(err, syscall.ECONNREFUSED) || time.Now().After(deadline) {
			return conn, err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}

// authenticated signs each request with the credentials that are in dir at that moment.
type authenticated struct {
	next http.RoundTripper
	dir  string
}

func (a authenticated) RoundTrip(r *http.Request) (*http.Response, error) {
	user, password, err := readCredentials(a.dir)
	if err != nil {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, err
	}
	signed := r.Clone(r.Context())
	signed.SetBasicAuth(user, password)
	return a.next.RoundTrip(signed)
}

func (a authenticated) CloseIdleConnections() {
	if c, ok := a.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

func readCredentials(dir string) (user, password string, err error) {
	if user, err = readCredential(dir, "username"); err != nil {
		return "", "", err
	}
	if password, err = readCredential(dir, "password"); err != nil {
		return "", "", err
	}
	return user, password, nil
}

func readCredential(dir, name string) (string, error) {
	content, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return "", fmt.Errorf("reading the warehouse's credentials: %w", err)
	}
	text := strings.TrimRight(string(content), "\r\n")
	if text == "" {
		return "", fmt.Errorf("reading the warehouse's credentials: file %s is empty", filepath.Join(dir, name))
	}
	return text, nil
}
