// Package access knows who may use the store: one user and one password, kept
// in files that a Secret provides.
package access

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Credentials are the store's user and password.
type Credentials struct {
	Username string
	Password string
}

// Read takes the credentials from the files "username" and "password" in dir,
// as a mounted Secret has them. A line break at a file's end is not part of
// the value. Empty or missing files are errors: the store does not run open.
func Read(dir string) (Credentials, error) {
	if dir == "" {
		return Credentials{}, errors.New("no directory of credentials: name the one that holds the files username and password with --credentials-dir")
	}
	user, err := value(dir, "username")
	if err != nil {
		return Credentials{}, err
	}
	password, err := value(dir, "password")
	if err != nil {
		return Credentials{}, err
	}
	return Credentials{Username: user, Password: password}, nil
}

func value(dir, name string) (string, error) {
	raw, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return "", fmt.Errorf("reading the %s of the store: %w", name, err)
	}
	v := strings.TrimRight(string(raw), "\r\n")
	if v == "" {
		return "", fmt.Errorf("reading the %s of the store: the file %s is empty", name, filepath.Join(dir, name))
	}
	return v, nil
}

// Match says whether user and password are the right ones. Its duration tells
// nothing about how far they agree.
func (c Credentials) Match(user, password string) bool {
	return equal(user, c.Username)&equal(password, c.Password) == 1
}

// equal compares digests, so that the lengths do not show either.
func equal(a, b string) int {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:])
}
