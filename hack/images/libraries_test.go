package main

import (
	"slices"
	"strings"
	"testing"
)

func TestParseLDD(t *testing.T) {
	got, err := parseLDD("\tlinux-vdso.so.1 (0x00007ffd)\n" +
		"\tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f01)\n" +
		"\t/lib64/ld-linux-x86-64.so.2 (0x00007f02)\n")
	if err != nil {
		t.Fatal(err)
	}
	// The kernel brings the first; the dynamic linker stands without an arrow.
	if want := []string{"/lib/x86_64-linux-gnu/libm.so.6", "/lib64/ld-linux-x86-64.so.2"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}

	if _, err := parseLDD("\tlibicu.so.72 => not found\n"); err == nil || !strings.Contains(err.Error(), "libicu.so.72") {
		t.Errorf("a library that is missing: got %v, want its name", err)
	}
	if got, err := parseLDD("\tstatically linked\n"); err != nil || len(got) > 0 {
		t.Errorf("a static program: got %q, %v", got, err)
	}
}

func TestChoose(t *testing.T) {
	all, err := choose(nil)
	if err != nil || len(all) != len(definitions()) {
		t.Errorf("no name means every image: got %d, %v", len(all), err)
	}
	one, err := choose([]string{"kohort-store"})
	if err != nil || len(one) != 1 || one[0].name != "kohort-store" {
		t.Errorf("got %v, %v", one, err)
	}
	if _, err := choose([]string{"store"}); err == nil || !strings.Contains(err.Error(), "kohort-store") {
		t.Errorf("a name that is none: got %v, want the names that are", err)
	}
}
