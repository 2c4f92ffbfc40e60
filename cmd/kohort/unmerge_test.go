package main

import (
	"bytes"
	"encoding/json"
	"testing"

	"kohort.dev/kohort/internal/engine"
	"kohort.dev/kohort/internal/unmerge"
)

func TestUnmerged(t *testing.T) {
	profiles := []unmerge.Profile{
		{ID: "p1", Kept: true, Events: 12, Identifiers: []string{"email:ada@example.com", "userId:42"}},
		{ID: "p2", Events: 3, Identifiers: []string{"anonymousId:\x1b1", "anonymousId:2", "anonymousId:3", "anonymousId:4", "anonymousId:5", "anonymousId:6", "anonymousId:7"}},
	}
	const table = `  PROFILE   IS     EVENTS   IDENTIFIERS   WHICH
  p1        kept   12       2             email:ada@example.com, userId:42
  p2        new    3        7             anonymousId:·1, anonymousId:2, anonymousId:3, anonymousId:4…
`
	for want, u := range map[string]engine.Unmerged{
		"One profile would become 2 (dry run).\n":                                                                    {DryRun: true},
		"One profile has become 2. Audiences follow when they are next evaluated.\n":                                 {Applied: true, Message: 7},
		"One profile will become 2: the request is message 7 of the stream, and ingestion has not come to it yet.\n": {Message: 7},
	} {
		u.Profiles = profiles
		answer, err := json.Marshal(u)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := showUnmerged(&out, answer); err != nil {
			t.Fatal(err)
		}
		if out.String() != table+want {
			t.Errorf("got\n%s\nwant\n%s", out.String(), table+want)
		}
	}
}

func TestUnmergeRefusesWhatIsNoIdentifier(t *testing.T) {
	for _, args := range [][]string{{"42", "--platform", "shop"}, {"userId:42", "--from", "ada", "--platform", "shop"}, {"userId:42", "--from", "", "--platform", "shop"}} {
		command := newIdentityUnmerge(&cluster{})
		command.SetArgs(args)
		command.SilenceErrors, command.SilenceUsage = true, true
		if err := command.Execute(); err == nil || !bytes.Contains([]byte(err.Error()), []byte("is no identifier")) {
			t.Errorf("%v gives %v", args, err)
		}
	}
}
