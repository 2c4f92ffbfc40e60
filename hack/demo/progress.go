package main

import (
	"fmt"
	"io"
	"time"
)

// progress tells a person what happens and since when.
type progress struct {
	out   io.Writer
	now   func() time.Time
	start time.Time
}

func newProgress(out io.Writer, now func() time.Time) *progress {
	return &progress{out: out, now: now, start: now()}
}

// say prints one step with the seconds since the start.
func (p *progress) say(format string, args ...any) {
	fmt.Fprintf(p.out, "[%6.1fs] %s\n", p.now().Sub(p.start).Seconds(), fmt.Sprintf(format, args...))
}

// title opens a part of the final picture.
func (p *progress) title(text string) { fmt.Fprintf(p.out, "\n== %s ==\n", text) }

// print writes text as it is.
func (p *progress) print(format string, args ...any) { fmt.Fprintf(p.out, format+"\n", args...) }
