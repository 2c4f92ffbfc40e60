// Package mysqldsn reads connection strings of MySQL and MariaDB as Sources and Destinations have them.
package mysqldsn

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

// form is what a connection string looks like.
const form = "write mysql://user:password@host:3306/database"

// Parse reads mysql://user:password@host:3306/database. With ?tls=true the connection is encrypted and the server's
// certificate checked, with ?tls=preferred it is encrypted when the server can. Times are in UTC. An error completes the
// sentence "the connection string …" and shows nothing of it.
func Parse(dsn string, timeout time.Duration) (*mysql.Config, error) {
	parsed, err := url.Parse(dsn)
	if err != nil || (parsed.Scheme != "mysql" && parsed.Scheme != "mariadb") || parsed.Hostname() == "" || len(parsed.Path) < 2 {
		return nil, errors.New("is not valid; " + form)
	}
	config := mysql.NewConfig()
	config.User = parsed.User.Username()
	config.Passwd, _ = parsed.User.Password()
	config.Net, config.DBName = "tcp", strings.TrimPrefix(parsed.Path, "/")
	port := parsed.Port()
	if port == "" {
		port = "3306"
	}
	config.Addr = net.JoinHostPort(parsed.Hostname(), port)
	config.Timeout = timeout
	config.ParseTime, config.Loc = true, time.UTC
	// TIMESTAMP comes in the session's zone, DATETIME has none.
	config.Params = map[string]string{"time_zone": "'+00:00'"}
	config.TLSConfig = "false"
	for name, values := range parsed.Query() {
		if name != "tls" || len(values) != 1 {
			return nil, fmt.Errorf("has the parameter %q; only tls is known", name)
		}
		config.TLSConfig = values[0]
	}
	config.Logger = silent{}
	if _, err := mysql.NewConnector(config); err != nil { // its text may hold parts of the string
		return nil, errors.New("is not valid; " + form + ", with ?tls=true for an encrypted connection")
	}
	return config, nil
}

// silent keeps the driver from writing to the log: what matters comes as an error.
type silent struct{}

// Print does nothing.
func (silent) Print(...any) {}

// IsPassing says whether a server's error may be gone later: too many connections, shutting down, a deadlock, a lock
// that was waited for too long, a query that was ended.
func IsPassing(err *mysql.MySQLError) bool {
	switch err.Number {
	case 1040, 1053, 1203, 1205, 1213, 1226, 1317, 1927, 3024, 1969:
		return true
	}
	return false
}
