package receiver

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func serve(t *testing.T, file string) *httptest.Server {
	t.Helper()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ledger, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(Handler(ledger, token, slog.New(slog.DiscardHandler)))
	t.Cleanup(server.Close)
	return server
}

func post(t *testing.T, server *httptest.Server, token, key, body string) int {
	t.Helper()
	request, err := http.NewRequest(http.MethodPost, server.URL+"/audiences", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Idempotency-Key", key)
	response, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

func batch(operations ...string) string {
	return fmt.Sprintf(`{"audience":"vip","sync":"vip-mailer","run":"1","operations":[%s]}`, strings.Join(operations, ","))
}

const (
	putAda    = `{"op":"upsert","id":"1","identifiers":{"email":["a@example.com","b@example.com"]},"traits":{"plan":"pro"}}`
	putAdaToo = `{"op":"upsert","id":"1","identifiers":{"email":["b@example.com","a@example.com"]},"traits":{"plan":"pro"}}`
	putAdaNew = `{"op":"upsert","id":"1","identifiers":{"email":["a@example.com","b@example.com"]},"traits":{"plan":"free"}}`
	putAlan   = `{"op":"upsert","id":"2"}`
	takeAda   = `{"op":"remove","id":"1"}`
)

func TestLedgerCountsWhatWasSentForNothing(t *testing.T) {
	for _, test := range []struct {
		why      string
		requests [][2]string // idempotency key, body
		want     Audience
	}{
		{"two members come in", [][2]string{{"k1", batch(putAda, putAlan)}},
			Audience{Count: 2, Requests: 1, Upserts: 2, Largest: 2}},
		{"the same member again is redundant, in whatever order its addresses come", [][2]string{{"k1", batch(putAda)}, {"k2", batch(putAdaToo)}},
			Audience{Count: 1, Requests: 2, Upserts: 2, Redundant: 1, Largest: 1}},
		{"a changed trait is not redundant", [][2]string{{"k1", batch(putAda)}, {"k2", batch(putAdaNew)}},
			Audience{Count: 1, Requests: 2, Upserts: 2, Largest: 1}},
		{"a request that is sent again under its key is a replay and nobody's fault", [][2]string{{"k1", batch(putAda)}, {"k1", batch(putAda)}},
			Audience{Count: 1, Requests: 2, Replays: 1, Upserts: 1, Largest: 1}},
		{"who leaves is gone", [][2]string{{"k1", batch(putAda, putAlan)}, {"k2", batch(takeAda)}},
			Audience{Count: 1, Requests: 2, Upserts: 2, Removes: 1, Largest: 2}},
		{"taking out who is not there is redundant", [][2]string{{"k1", batch(takeAda)}},
			Audience{Requests: 1, Removes: 1, Redundant: 1, Largest: 1}},
	} {
		file := filepath.Join(t.TempDir(), "ledger")
		server := serve(t, file)
		for _, request := range test.requests {
			if status := post(t, server, "secret", request[0], request[1]); status != http.StatusNoContent {
				t.Fatalf("%s: status %d", test.why, status)
			}
		}
		again, err := Open(file)
		if err != nil {
			t.Fatal(err)
		}
		got := again.Show("vip")
		if len(got.Members) != got.Count {
			t.Errorf("%s: %d members, counted %d", test.why, len(got.Members), got.Count)
		}
		got.Members = nil
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.why, diff)
		}
	}
}

func TestHandlerRefuses(t *testing.T) {
	server := serve(t, "")
	many := make([]string, 501)
	for i := range many {
		many[i] = putAlan
	}
	for _, test := range []struct {
		why, token, body string
		want             int
	}{
		{"without the token nobody writes", "guess", batch(putAda), http.StatusUnauthorized},
		{"what is not JSON is no batch", "secret", "hello", http.StatusBadRequest},
		{"a batch belongs to an audience", "secret", `{"operations":[]}`, http.StatusBadRequest},
		{"500 operations are the limit", "secret", batch(many...), http.StatusBadRequest},
		{"an unknown operation is an error", "secret", batch(`{"op":"insert","id":"1"}`), http.StatusBadRequest},
	} {
		if got := post(t, server, test.token, "", test.body); got != test.want {
			t.Errorf("%s: status %d, want %d", test.why, got, test.want)
		}
	}
	response, err := server.Client().Get(server.URL + "/audiences/vip")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("an audience that never came answers %d, want 200 and an empty one", response.StatusCode)
	}
}
