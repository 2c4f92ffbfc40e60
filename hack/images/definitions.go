package main

// definition says what an image is made of. The Dockerfile makes the first
// three from the same programs in the same places; those are what the project
// ships, the others serve its demo and tests.
type definition struct {
	name string
	// parts are the layers below the programs, the ones that change least
	// first.
	parts []part
	// programs are main packages of this repository, or patterns of them, each
	// of which becomes /usr/local/bin/NAME in a layer of its own.
	programs []string
	// entrypoint is the command of an image that has one. The project's own
	// images have none: each pod names its program.
	entrypoint []string
	env        []string
	stopSignal string
}

// repository is what the images are named under, whatever registry they are
// copied to later.
const repository = "kohort.dev"

func definitions() []definition {
	return []definition{
		{
			name:     "kohort",
			parts:    []part{base},
			programs: []string{"./cmd/operator", "./cmd/worker", "./cmd/kohort"},
		},
		{
			name:     "kohort-connector",
			parts:    []part{base},
			programs: []string{"./cmd/connector"},
		},
		{
			name:     "kohort-store",
			parts:    []part{base, chdbLibraries, chdb},
			programs: []string{"./cmd/store"},
		},
		{
			name:     "kohort-demo",
			parts:    []part{base},
			programs: []string{"./test/demo/..."},
		},
		{
			name:       "kohort-postgres",
			parts:      []part{base, postgres},
			programs:   []string{"./hack/images/pginit"},
			entrypoint: []string{programDirectory + "/pginit"},
			env:        []string{"PGDATA=/var/lib/postgresql/data"},
			// PostgreSQL's fast shutdown: it otherwise waits for every client
			// to leave.
			stopSignal: "SIGINT",
		},
	}
}
