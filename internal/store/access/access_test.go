package access

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Read(""); err == nil || !strings.Contains(err.Error(), "--credentials-dir") {
		t.Errorf("without a directory: %v, want an error that names the flag", err)
	}
	write("username", "kohort\n")
	if _, err := Read(dir); err == nil || !strings.Contains(err.Error(), "password") {
		t.Errorf("without a password: %v, want an error that names it", err)
	}
	write("password", "\n")
	if _, err := Read(dir); err == nil || !strings.Contains(err.Error(), "empty") {
		t.Errorf("with an empty password: %v, want an error, for the store must not run open", err)
	}
	write("password", " se cret \r\n")
	got, err := Read(dir)
	if err != nil || got.Username != "kohort" || got.Password != " se cret " {
		t.Errorf("got %+v and error %v; only the line break is not part of the value", got, err)
	}
}

func TestMatch(t *testing.T) {
	c := Credentials{Username: "u", Password: "p"}
	for _, try := range []struct {
		user, password string
		want           bool
	}{{"u", "p", true}, {"u", "", false}, {"", "p", false}, {"u", "pp", false}, {"U", "p", false}, {"p", "u", false}, {"", "", false}} {
		if got := c.Match(try.user, try.password); got != try.want {
			t.Errorf("user %q with password %q matches: %v, want %v", try.user, try.password, got, try.want)
		}
	}
}
