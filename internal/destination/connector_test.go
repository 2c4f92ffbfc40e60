package destination

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"kohort.dev/kohort/internal/run"
	"kohort.dev/kohort/internal/store/storetest"
	"kohort.dev/kohort/internal/stream"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

func connectorTo(t *testing.T, output string, secrets map[string]string) (*Connector, error) {
	t.Helper()
	files := map[string]string{}
	for name, value := range secrets {
		files[name] = file(t, value)
	}
	c, err := NewConnector(ConnectorConfig{ConnectorTarget: run.ConnectorTarget{Output: []byte(output)}, SecretFiles: files, Telling: telling})
	if err == nil {
		t.Cleanup(func() { _ = c.Close() })
	}
	return c, err
}

func TestConnector(t *testing.T) {
	url, user, password := storetest.Stream(t)
	js, err := stream.Connect(t.Context(), url, warehousetest.Credentials(t, user, password))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(js.Conn().Close)
	members, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "MEMBERS", Subjects: []string{"audiences.>"}})
	if err != nil {
		t.Fatal(err)
	}
	output := `{"nats_jetstream": {"urls": ["` + strings.Replace(url, "://", "://${USER}:${PASSWORD}@", 1) + `"], "max_in_flight": 1,
		"subject": "audiences.${! metadata(\"kohort_type\") }", "headers": {"Nats-Msg-Id": "${! metadata(\"kohort_id\") }"}}}`
	c, err := connectorTo(t, output, map[string]string{"USER": user, "PASSWORD": password})
	if err != nil {
		t.Fatal(err)
	}
	batch, want := three()
	for range 2 { // the output sends the id along, so that what is sent again is dropped
		if results, err := c.Deliver(t.Context(), batch); err != nil || !cmp.Equal(results, make([]Result, 3)) {
			t.Fatal(results, err)
		}
	}
	for i := range want {
		got, err := members.GetMsg(t.Context(), uint64(i)+1)
		if err != nil || string(got.Data) != want[i] || !strings.Contains(want[i], `"`+strings.TrimPrefix(got.Subject, "audiences.")+`"`) {
			t.Errorf("message %d: %s %s (%v), want %s", i, got.Subject, got.Data, err, want[i])
		}
	}
	if info, err := members.Info(t.Context()); err != nil || info.State.Msgs != 3 {
		t.Errorf("%+v (%v)", info, err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Deliver(t.Context(), batch); err != nil {
		t.Errorf("after it was closed it connects again: %v", err)
	}
	away, err := connectorTo(t, `{"nats_jetstream": {"urls": ["nats://u:${PASSWORD}@127.0.0.1:1"], "subject": "x"}}`, map[string]string{"PASSWORD": "hunter2"})
	if err != nil {
		t.Fatal(err)
	}
	away.patience = 2 * time.Second
	for range 2 {
		refusedBy(t, "nobody is there", away, "unavailable", "", "spec.connector.output")
	}
	refusing, err := connectorTo(t, `{"reject": "no ${! content() }"}`, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := refusing.Deliver(t.Context(), batch); err == nil || strings.Contains(err.Error(), "example.com") {
		t.Errorf("an output that refuses: %v", err)
	}
}

func TestConnectorRefusesWhatCannotBeUsed(t *testing.T) {
	for _, c := range []struct{ why, output, reason, says string }{
		{"an output that does not exist", `{"carrier_pigeon":{}}`, ReasonInvalidSpec, "spec.connector.output"},
		{"a field that does not exist", `{"nats":{"urls":["nats://h:1"],"subjekt":"x"}}`, ReasonInvalidSpec, "subjekt"},
		{"a secret that nobody names", `{"nats":{"urls":["nats://${TOKEN}@h:1"],"subject":"x"}}`, ReasonInvalidSpec, "TOKEN"},
		{"a secret that is empty", `{"nats":{"urls":["nats://${EMPTY}@h:1"],"subject":"x"}}`, ReasonSecretNotFound, "spec.connector.secretRefs[EMPTY]"},
		{"the environment is nobody's business", `{"nats":{"urls":["nats://h:1"],"subject":"${! env(\"PATH\") }"}}`, ReasonInvalidSpec, "env"},
		{"nor are files", `{"nats":{"urls":["nats://h:1"],"subject":"x"},"processors":[{"mapping":"root = file(\"/etc/passwd\")"}]}`, ReasonInvalidSpec, "file"},
		{"which are not written either", `{"file":{"path":"/tmp/x"}}`, ReasonInvalidSpec, "file"},
		{"nor other programs", `{"subprocess":{"name":"id"}}`, ReasonInvalidSpec, "subprocess"},
		{"nor other servers", `{"http_client":{"url":"http://169.254.169.254"}}`, ReasonInvalidSpec, "http_client"},
		{"a text is no output", `"x"`, ReasonInvalidSpec, "not an object"},
	} {
		_, err := connectorTo(t, c.output, map[string]string{"EMPTY": ""})
		var failure *run.Failure
		if !errors.As(err, &failure) || failure.Reason != c.reason || !failure.Fatal || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.why, err)
		}
	}
}
