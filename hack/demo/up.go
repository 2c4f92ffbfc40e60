package main

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"kohort.dev/kohort/test/demo/check"
	"kohort.dev/kohort/test/demo/population"
	"kohort.dev/kohort/test/demo/truth"
	"kohort.dev/kohort/test/demo/world"
)

// up runs the whole demo.
func (d *demo) up(ctx context.Context) error {
	if err := d.prepare(ctx); err != nil {
		d.diagnose(ctx)
		return err
	}
	w := d.world()
	p, err := d.live(ctx, w)
	if err != nil {
		d.diagnose(ctx)
		return err
	}
	if err := d.show(ctx, w, p); err != nil {
		return err
	}
	d.progress.say("done")
	return nil
}

// live lets the shop happen until everything has arrived.
func (d *demo) live(ctx context.Context, w world.World) (*population.Population, error) {
	p, err := w.Found(ctx, size(time.Now()))
	if err != nil {
		return nil, err
	}
	if err := w.Install(ctx); err != nil {
		return nil, err
	}
	d.progress.say("sending what happened on the website and in the app")
	if err := w.Traffic(ctx); err != nil {
		return nil, err
	}
	if err := w.Settle(ctx, truth.Of(p, time.Now())); err != nil {
		return nil, err
	}
	return p, w.Retain(ctx)
}

// show prints the picture that the demo is for.
func (d *demo) show(ctx context.Context, w world.World, p *population.Population) error {
	d.progress.say("building the command line kohort")
	kohort := filepath.Join(d.root, "bin", "kohort")
	if _, err := d.output(ctx, "go", "build", "-o", kohort, "./cmd/kohort"); err != nil {
		return err
	}
	lines, err := w.Lines(ctx, p)
	if err != nil {
		return err
	}
	for _, part := range []func(context.Context, world.World, *population.Population, string) error{d.showKinds, d.showProfile, d.showSecondRun} {
		if err := part(ctx, w, p, kohort); err != nil {
			return err
		}
	}
	d.progress.title("The truth, and what Kohort and the destinations say")
	if err := check.Print(d.progress.out, lines); err != nil {
		return err
	}
	d.showWays(kohort)
	if !check.Agree(lines) {
		d.diagnose(ctx)
		return errors.New("the numbers do not agree with the truth; see the table above")
	}
	return nil
}
