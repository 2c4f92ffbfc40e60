package main

import (
	"strings"
	"testing"
)

func TestReadSettings(t *testing.T) {
	for _, c := range []struct {
		name        string
		environment map[string]string
		want        settings
		err         string
	}{
		{"the database is named after the user, as in other images", map[string]string{"PGDATA": "/data", "POSTGRES_PASSWORD": "p"},
			settings{"/data", "postgres", "p", "postgres"}, ""},
		{"each can be chosen", map[string]string{"PGDATA": "/data", "POSTGRES_PASSWORD": "p", "POSTGRES_USER": "u", "POSTGRES_DB": "d"},
			settings{"/data", "u", "p", "d"}, ""},
		{"a server without a password would be of no use", map[string]string{"PGDATA": "/data"}, settings{}, "POSTGRES_PASSWORD"},
		{"initdb would make a relative one anywhere", map[string]string{"PGDATA": "data", "POSTGRES_PASSWORD": "p"}, settings{}, "PGDATA"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := readSettings(func(name string) string { return c.environment[name] })
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("got %v, want an error about %s", err, c.err)
				}
				return
			}
			if err != nil || got != c.want {
				t.Errorf("got %+v, %v; want %+v", got, err, c.want)
			}
		})
	}
}

func TestPasswordStaysOutOfTheServersEnvironment(t *testing.T) {
	got := withoutPassword([]string{"PATH=/bin", "POSTGRES_PASSWORD=secret", "PGDATA=/data"})
	if strings.Join(got, " ") != "PATH=/bin PGDATA=/data" {
		t.Errorf("got %q", got)
	}
}
