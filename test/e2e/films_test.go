//go:build e2e

package e2e

import (
	"compress/gzip"
	"context"
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/test/demo/check"
	"kohort.dev/kohort/test/demo/population"
	"kohort.dev/kohort/test/demo/world"
)

// TestRealData loads two public data sets: MovieLens as events, and a telephone company's customers as traits.
func TestRealData(t *testing.T) {
	films, telco := dataSet(t, "movielens.csv.gz"), dataSet(t, "telco.csv.gz")
	w := lab(t, "e2e-films")
	_, err := w.Found(t.Context(), population.Config{Seed: 1, Customers: 1, Clock: time.Now()})
	must(t, err)
	for name, data := range map[string]string{"movielens.csv.gz": films, "telco.csv.gz": telco} {
		file, err := os.Open(data)
		must(t, err)
		_, err = w.Kubectl.Post(t.Context(), "support-desk:80", "/files/"+name, file)
		must(t, err)
		must(t, file.Close())
	}
	must(t, w.Apply(t.Context(), "1*.yaml"))
	must(t, w.Apply(t.Context(), "31-destination-marketing.yaml"))
	for _, part := range []struct {
		name string
		run  func(*testing.T, world.World, [][]string)
		file string
	}{
		{"MovieLens gives 100,004 events and 671 profiles", loadFilms, films},
		{"the audience of science fiction has 219 members, delivered once", deliverScienceFiction, films},
		{"the telephone company's 7,043 customers arrive as traits", loadTelco, telco},
	} {
		if !t.Run(part.name, func(t *testing.T) { part.run(t, w, readCSV(t, part.file)) }) {
			return
		}
	}
}

// dataSet finds a file of real data; without it the test has nothing to say.
func dataSet(t *testing.T, name string) string {
	t.Helper()
	directory := os.Getenv("KOHORT_DATA")
	if directory == "" {
		directory = filepath.Join("..", "..", "..", "shared", "data")
	}
	file := filepath.Join(directory, name)
	if _, err := os.Stat(file); err != nil {
		t.Skipf("the data set %s is not here (KOHORT_DATA names its directory): %v", name, err)
	}
	return file
}

// readCSV reads a packed file's rows, without the header.
func readCSV(t *testing.T, name string) [][]string {
	t.Helper()
	file, err := os.Open(name)
	must(t, err)
	defer file.Close()
	unpacked, err := gzip.NewReader(file)
	must(t, err)
	rows, err := csv.NewReader(unpacked).ReadAll()
	must(t, err)
	return rows[1:]
}

const filmsSource = `
apiVersion: kohort.dev/v1alpha1
kind: Source
metadata: {name: films}
spec:
	platformRef: {name: shop}
	files: {url: http://support-desk/files/movielens.csv.gz, format: CSV}
	mapping: |
		root.type = "track"
		root.event = "Film Rated"
		root.userId = "viewer-" + this.userId
		root.timestamp = this.timestamp.number().ts_format("2006-01-02T15:04:05Z", "UTC")
		root.properties.film = this.title
		root.properties.genres = this.genres.split("|")
		root.properties.rating = this.rating.number()
`

func loadFilms(t *testing.T, w world.World, rows [][]string) {
	apply(t, w, filmsSource)
	must(t, w.Kubectl.Wait(t.Context(), "condition=Ready", 3*time.Minute, "platform/shop", "source/films"))
	awaitPlatform(t, w, len(rows), 671)
	expectStored(t, storedEvents(t, w), "films", 100_004)
	var source v1alpha1.Source
	must(t, w.Kubectl.Get(t.Context(), "source", "films", &source))
	if run := source.Status.LastRun; run.Read != 100_004 || run.Published != 100_004 || run.Rejected != 0 {
		t.Errorf("the run read %d, published %d and rejected %d records", run.Read, run.Published, run.Rejected)
	}
}

// awaitPlatform waits until the Platform shows so many events and profiles.
func awaitPlatform(t *testing.T, w world.World, events, profiles int) {
	t.Helper()
	await(t, 3*time.Minute, func(ctx context.Context) (string, error) {
		var platform v1alpha1.Platform
		if err := w.Kubectl.Get(ctx, "platform", "shop", &platform); err != nil {
			return "", err
		}
		e, p := platform.Status.Events, platform.Status.Profiles
		if e == nil || p == nil || *e != int64(events) || *p != int64(profiles) {
			return fmt.Sprintf("the Platform shows %s events and %s profiles, want %d and %d", shown(e), shown(p), events, profiles), nil
		}
		return "", nil
	})
}

func shown(n *int64) string {
	if n == nil {
		return "no"
	}
	return strconv.FormatInt(*n, 10)
}

const scienceFiction = `
apiVersion: kohort.dev/v1alpha1
kind: Audience
metadata: {name: science-fiction}
spec:
	platformRef: {name: shop}
	description: At least 10 ratings of 4 or more on films whose genres include Sci-Fi
	criteria:
	- name: fans
		event:
			name: Film Rated
			count: {min: 10}
			where:
			- {property: rating, operator: AtLeast, values: [4]}
			- {property: genres, operator: Contains, values: [Sci-Fi]}
	destinations:
	- {name: marketing, identifiers: [userId]}
`

func deliverScienceFiction(t *testing.T, w world.World, rows [][]string) {
	apply(t, w, scienceFiction)
	const name = "science-fiction-marketing"
	await(t, 2*time.Minute, func(ctx context.Context) (string, error) {
		s, err := sync(ctx, w, name)
		if err != nil {
			return "", err
		}
		if s.Status.Members == nil || *s.Status.Members != 219 {
			return fmt.Sprintf("the Sync shows %s members, want 219", shown(s.Status.Members)), nil
		}
		return "", nil
	})
	must(t, w.Deliver(t.Context(), name))
	s, err := sync(t.Context(), w, name)
	must(t, err)
	var added, touched int64
	for _, run := range s.Status.History {
		added += run.Added
		touched += run.Updated + run.Removed + run.Rejected
	}
	if added != 219 || touched != 0 {
		t.Errorf("all runs together added %d rows and touched %d others; each of 219 has to be sent once", added, touched)
	}

	var held []string
	must(t, check.Database(t.Context(), w.Kubectl, func(conn *pgx.Conn) error {
		rows, err := conn.Query(t.Context(), `SELECT identifiers->'userId'->>0 FROM marketing.audience_members WHERE audience = 'science-fiction'`)
		if err != nil {
			return err
		}
		held, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	}))
	sameMembers(t, "marketing's table", fansOf("Sci-Fi", rows), held)
}

// fansOf counts in the file itself: movieId, title, year, genres, userId, rating, timestamp.
func fansOf(genre string, rows [][]string) []string {
	good := map[string]int{}
	for _, row := range rows {
		rating, err := strconv.ParseFloat(row[5], 64)
		if err == nil && rating >= 4 && slices.Contains(strings.Split(row[3], "|"), genre) {
			good[row[4]]++
		}
	}
	var fans []string
	for user, n := range good {
		if n >= 10 {
			fans = append(fans, "viewer-"+user)
		}
	}
	return fans
}

const telcoSource = `
apiVersion: kohort.dev/v1alpha1
kind: Source
metadata: {name: telco}
spec:
	platformRef: {name: shop}
	party: Second
	files: {url: http://support-desk/files/telco.csv.gz, format: CSV}
	mapping: |
		root.type = "identify"
		root.userId = "line-" + row().string()
		root.traits = this
		root.traits.tenure = this.tenure.number()
		root.traits.churn = this.churn == "Yes"
---
apiVersion: kohort.dev/v1alpha1
kind: Audience
metadata: {name: loyal}
spec:
	platformRef: {name: shop}
	description: Two years and more with a monthly contract, and still here
	evaluation: {every: 10s}
	criteria:
	- {name: years, trait: {name: tenure, operator: AtLeast, values: [24]}}
	- {name: monthly, trait: {name: contract, operator: Equals, values: [Month-to-month]}}
	- {name: gone, trait: {name: churn, operator: Equals, values: [true]}}
	match: years && monthly && !gone
`

func loadTelco(t *testing.T, w world.World, rows [][]string) {
	if len(rows) != 7043 {
		t.Fatalf("the file has %d rows", len(rows))
	}
	apply(t, w, telcoSource)
	must(t, w.Kubectl.Wait(t.Context(), "condition=Ready", 2*time.Minute, "source/telco"))
	awaitPlatform(t, w, 100_004+7043, 671+7043)
	want := 0
	for _, row := range rows { // churn is column 0, tenure 5, contract 15
		tenure, err := strconv.Atoi(row[5])
		must(t, err)
		if tenure >= 24 && row[15] == "Month-to-month" && row[0] == "No" {
			want++
		}
	}
	await(t, 2*time.Minute, func(ctx context.Context) (string, error) {
		var audience v1alpha1.Audience
		if err := w.Kubectl.Get(ctx, "audience", "loyal", &audience); err != nil {
			return "", err
		}
		if size := audience.Status.Size; size == nil || *size != int64(want) {
			return fmt.Sprintf("the audience loyal has %s members, the file %d", shown(size), want), nil
		}
		return "", nil
	})
}
