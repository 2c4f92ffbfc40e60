package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
)

func TestFlags(t *testing.T) {
	images := []string{"--kohort-image=k", "--connector-image=c", "--store-image=s"}
	for _, c := range []struct {
		why     string
		args    []string
		message string // of the error; empty for none
	}{
		{"the images are all that is needed", images, ""},
		{"several namespaces", append([]string{"--watch-namespaces=a, b,"}, images...), ""},
		{"an image is missing", images[:2], "--store-image is required"},
		{"no image at all", nil, "--kohort-image is required"},
		{"an argument that is no flag", append(images, "start"), `unexpected argument "start"`},
		{"no worker could do anything", append([]string{"--concurrency=0"}, images...), "--concurrency must be at least 1"},
		{"a level that there is not", append([]string{"--log-level=LOUD"}, images...), "invalid value"},
	} {
		t.Run(c.why, func(t *testing.T) {
			config, err := parse(c.args, &bytes.Buffer{})
			if (err == nil) != (c.message == "") || err != nil && !strings.Contains(err.Error(), c.message) {
				t.Fatalf("error = %v, want %q", err, c.message)
			}
			if err == nil && strings.Contains(strings.Join(c.args, " "), "watch") && strings.Join(config.namespaces, "+") != "a+b" {
				t.Errorf("namespaces = %q", config.namespaces)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	var out bytes.Buffer
	if err := run(context.Background(), []string{"--version"}, &out); err != nil || out.String() != version+"\n" {
		t.Errorf("printed %q, %v", out.String(), err)
	}
}
