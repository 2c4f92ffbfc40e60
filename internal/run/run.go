// Package run is what the operator and a Job say to each other: the order that a pull or a sync is given in the
// environment variable KOHORT_ORDER, and the report that it leaves in its termination message.
//
// A Job needs no Kubernetes credential for either: the order stands in its immutable template, and the kubelet carries
// the report to the API server.
package run

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"
)

// OrderVariable is the environment variable that holds a Job's order as JSON.
const OrderVariable = "KOHORT_ORDER"

// TerminationPath is where the kubelet looks for a container's termination message.
const TerminationPath = "/dev/termination-log"

// MaxReport is the number of bytes of a termination message that the kubelet keeps.
const MaxReport = 4096

// Exit codes of a run. A Job tries again after ExitRetry and gives up at once after ExitFatal.
const (
	ExitSucceeded = 0
	// ExitRetry : something outside failed that may be well later.
	ExitRetry = 1
	// ExitFatal : a person has to change something first.
	// Not 2, which is what a panic exits with.
	ExitFatal = 42
)

// PullOrder tells a puller what to read.
type PullOrder struct {
	Platform string    `json:"platform"`
	Source   string    `json:"source"`
	Party    string    `json:"party"` // First, Second or Third
	Slot     time.Time `json:"slot"`  // the moment that the schedule asked for, UTC
	Mapping  string    `json:"mapping"`
	// Again reads also files that have not changed since they were read: a person asked for the run.
	Again bool `json:"again,omitempty"`
	// Interval that the run covers; nil without a schedule.
	Interval *Interval `json:"interval,omitempty"`
	Files    *Files    `json:"files,omitempty"`
	SQL      *SQL      `json:"sql,omitempty"`
}

// Files names the files to read.
type Files struct {
	URL    string `json:"url"` // http(s)://…, s3://bucket/…, or file:///path relative to Root
	Format string `json:"format"`
	Root   string `json:"root,omitempty"` // directory that the claim is mounted at
	S3     *S3    `json:"s3,omitempty"`   // of an s3:// URL
}

// S3 names a storage that speaks S3. The keys are in the files that the flags --s3-key-id-file and --s3-secret-file name.
type S3 struct {
	Endpoint  string `json:"endpoint"` // https://host
	Region    string `json:"region,omitempty"`
	PathStyle bool   `json:"pathStyle,omitempty"`
	Keys      bool   `json:"keys,omitempty"` // a login is needed; false: everybody may read
}

// SQL names the query to run. The connection string is in the file that the flag --dsn-file names.
type SQL struct {
	Driver       string `json:"driver"`
	Query        string `json:"query"`
	CursorColumn string `json:"cursorColumn,omitempty"`
}

// ListenOrder tells a listener what to read for as long as it runs. Exactly one of Kafka, NATS, Connector and Webhook is
// set.
// Credentials are in files that the flag --secret names.
type ListenOrder struct {
	Platform  string     `json:"platform"`
	Source    string     `json:"source"`
	Party     string     `json:"party"` // First, Second or Third
	Mapping   string     `json:"mapping"`
	Kafka     *Kafka     `json:"kafka,omitempty"`
	NATS      *NATS      `json:"nats,omitempty"`
	Connector *Connector `json:"connector,omitempty"`
	Webhook   *Hook      `json:"webhook,omitempty"`
}

// Kafka names topics. The secrets are KAFKA_PASSWORD, if there is a user, and KAFKA_CA, if CA says so.
type Kafka struct {
	Brokers       []string `json:"brokers"` // host:port
	Topics        []string `json:"topics"`
	ConsumerGroup string   `json:"consumerGroup"`
	Latest        bool     `json:"latest,omitempty"` // a new group begins with what comes, not with what is there
	TLS           bool     `json:"tls,omitempty"`
	CA            bool     `json:"ca,omitempty"`
	Mechanism     string   `json:"mechanism,omitempty"` // PLAIN, SCRAM-SHA-256, SCRAM-SHA-512; empty: no login
	User          string   `json:"user,omitempty"`
}

// NATS names a stream of JetStream. The secrets are NATS_PASSWORD, if there is a user, and NATS_CREDENTIALS, a file as
// nsc writes it, if Credentials says so.
type NATS struct {
	URLs        []string `json:"urls"`
	Stream      string   `json:"stream"`
	Subject     string   `json:"subject,omitempty"` // of the stream; empty: all
	Durable     string   `json:"durable"`           // the consumer's name
	Latest      bool     `json:"latest,omitempty"`  // a new consumer begins with what comes, not with what is there
	User        string   `json:"user,omitempty"`
	Credentials bool     `json:"credentials,omitempty"`
}

// Connector is any input of Bento's that is built in. In its texts ${NAME} stands for the secret of that name.
type Connector struct {
	Input json.RawMessage `json:"input"`
}

// Hook says how requests show that their sender has the secret WEBHOOK_SECRET.
type Hook struct {
	Verify string `json:"verify,omitempty"` // VerifyToken and so on
	// Header of an HMAC, what stands before it there, and whether it is in base64 and not in hexadecimal digits.
	Header string `json:"header,omitempty"`
	Prefix string `json:"prefix,omitempty"`
	Base64 bool   `json:"base64,omitempty"`
}

// Ways of Hook.Verify.
const (
	VerifyToken            = "Token"
	VerifyHMAC             = "HMAC"
	VerifyStripe           = "Stripe"
	VerifyStandardWebhooks = "StandardWebhooks"
)

// SyncOrder tells a sync what to deliver where.
type SyncOrder struct {
	Platform    string            `json:"platform"`
	Sync        string            `json:"sync"` // the Sync's name: the key of its state in the warehouse
	Audience    string            `json:"audience"`
	Destination string            `json:"destination"`
	Mode        string            `json:"mode"` // Mirror, AddRemove, Upsert or Append
	Slot        time.Time         `json:"slot"`
	Identifiers []string          `json:"identifiers,omitempty"` // types to send; empty: all
	Traits      map[string]string `json:"traits,omitempty"`      // field at the destination -> trait
	Suppress    []string          `json:"suppress,omitempty"`    // audiences whose members must not be at the destination
	Hold        bool              `json:"hold,omitempty"`        // add and change nobody, but take out who has to go
	Drain       bool              `json:"drain,omitempty"`       // take every member out, whatever the audience says
	Resync      string            `json:"resync,omitempty"`      // what was delivered under another value counts as not delivered
	Delivery    *Delivery         `json:"delivery,omitempty"`    // nil: as fast as the destination answers
	Webhook     *Webhook          `json:"webhook,omitempty"`
	Table       *Table            `json:"table,omitempty"`
	Segment     *Segment          `json:"segment,omitempty"`
	Meta        *Meta             `json:"meta,omitempty"`
	Google      *Google           `json:"google,omitempty"`
	Files       *FileTarget       `json:"files,omitempty"`
	Kafka       *KafkaTarget      `json:"kafka,omitempty"`
	NATS        *NATSTarget       `json:"nats,omitempty"`
	Connector   *ConnectorTarget  `json:"connector,omitempty"`
}

// TestOrder tells a connector to show what a destination is sent of one record: the one in the file that the flag
// --record-file names, or, without it, a member of the audience.
type TestOrder struct {
	SyncOrder
	Send   bool `json:"send,omitempty"`   // it is sent, and not only shown
	Remove bool `json:"remove,omitempty"` // it is taken out
}

// Record is a customer that a person made up.
type Record struct {
	Identifiers map[string][]string        `json:"identifiers,omitempty"`
	Traits      map[string]json.RawMessage `json:"traits,omitempty"` // by field at the destination
}

// Delivery says how fast and how persistently to deliver. What is 0 is the default of package sync.
type Delivery struct {
	Interval  time.Duration `json:"interval,omitempty"`  // between two requests, on average: this run's share of the rate
	BatchSize int           `json:"batchSize,omitempty"` // rows of a request
	Attempts  int           `json:"attempts,omitempty"`  // at a batch
	MaxDelay  time.Duration `json:"maxDelay,omitempty"`  // between two attempts
	Patience  time.Duration `json:"patience,omitempty"`  // with a destination that takes and refuses nothing
}

// Webhook names the endpoint of a webhook destination. Its token is in the file that the flag --token-file names.
type Webhook struct {
	URL string `json:"url"`
}

// Table names the table of a sql destination. The connection string is in the file that the flag --dsn-file names.
type Table struct {
	Driver string `json:"driver"`
	Name   string `json:"name"`
}

// FileTarget names the folder of a files destination. The keys are in the files that the flags --s3-key-id-file and
// --s3-secret-file name.
type FileTarget struct {
	URL    string `json:"url"`            // s3://bucket/folder, or file:///folder relative to Root
	Format string `json:"format"`         // CSV, JSONL or Parquet
	Root   string `json:"root,omitempty"` // directory that the claim is mounted at
	S3     *S3    `json:"s3,omitempty"`   // of an s3:// URL
}

// KafkaTarget names a topic. The user's password is in the file that the flag --token-file names, and, if CA says so,
// certificates are in that of --ca-file.
type KafkaTarget struct {
	Brokers   []string `json:"brokers"` // host:port
	Topic     string   `json:"topic"`
	TLS       bool     `json:"tls,omitempty"`
	CA        bool     `json:"ca,omitempty"`
	Mechanism string   `json:"mechanism,omitempty"` // PLAIN, SCRAM-SHA-256, SCRAM-SHA-512; empty: no login
	User      string   `json:"user,omitempty"`
}

// NATSTarget names a subject of a stream of JetStream. The user's password, or, if Credentials says so, a file as nsc writes
// it, is in the file that the flag --token-file names.
type NATSTarget struct {
	URLs        []string `json:"urls"`
	Subject     string   `json:"subject"`
	User        string   `json:"user,omitempty"`
	Credentials bool     `json:"credentials,omitempty"`
}

// ConnectorTarget is any output of Bento's that is built in. In its texts ${NAME} stands for the secret of that name, which is
// in the file that the flag --secret NAME=file names.
type ConnectorTarget struct {
	Output json.RawMessage `json:"output"`
}

// Segment names where Segment's calls are made. The write key is in the file that the flag --token-file names.
type Segment struct {
	URL   string   `json:"url"`
	Calls []string `json:"calls"` // Identify, Track
}

// Meta names a Custom Audience of Meta's. The access token is in the file that the flag --token-file names.
type Meta struct {
	URL      string `json:"url"` // of the Graph API, with its version
	Audience string `json:"audience"`
}

// Google names an audience for Customer Match. The key of the service account is in the file that --token-file names.
type Google struct {
	URL               string         `json:"url"`
	Account           GoogleAccount  `json:"account"`
	Login             *GoogleAccount `json:"login,omitempty"`
	Audience          string         `json:"audience"`
	AdUserData        bool           `json:"adUserData"`        // the members consented
	AdPersonalization bool           `json:"adPersonalization"` // the members consented
}

// GoogleAccount is an account of one of Google's products.
type GoogleAccount struct {
	Type string `json:"type"` // GoogleAds, DisplayVideoPartner, DisplayVideoAdvertiser
	ID   string `json:"id"`
}

// Report is what a run says when it ends. Fields that do not belong to the kind of run stay zero.
type Report struct {
	Result  string `json:"result"`            // Succeeded or Failed
	Reason  string `json:"reason,omitempty"`  // a reason of api/v1alpha1/conditions.go when Failed
	Message string `json:"message,omitempty"` // what happened and the remedy; no personal data, no credentials

	// A pull.
	Read      int64 `json:"read,omitempty"`
	Published int64 `json:"published,omitempty"`

	// A sync.
	Added    int64 `json:"added,omitempty"`
	Updated  int64 `json:"updated,omitempty"`
	Removed  int64 `json:"removed,omitempty"`
	Retried  int64 `json:"retried,omitempty"`
	Pending  int64 `json:"pending,omitempty"`
	Members  int64 `json:"members,omitempty"`
	Revision int64 `json:"revision,omitempty"`
	// Suppressed members are kept from the destination.
	Suppressed int64 `json:"suppressed,omitempty"`

	// Both.
	Rejected   int64       `json:"rejected,omitempty"`
	Rejections []Rejection `json:"rejections,omitempty"` // at most 10, most frequent first
}

// Rejection counts rows refused for one reason.
type Rejection struct {
	Reason  string `json:"reason"`
	Count   int64  `json:"count"`
	Example string `json:"example,omitempty"` // without personal data
}

// Failure is an error that knows its reason and whether trying again can help.
type Failure struct {
	Reason string
	Fatal  bool
	Err    error
}

// Error gives the message for people.
func (f *Failure) Error() string { return f.Err.Error() }

// Unwrap gives the cause.
func (f *Failure) Unwrap() error { return f.Err }

// Fail makes a Failure that a later try may not meet again.
func Fail(reason, format string, args ...any) error {
	return &Failure{Reason: reason, Err: fmt.Errorf(format, args...)}
}

// Refuse makes a Failure that stays until a person changes something.
func Refuse(reason, format string, args ...any) error {
	return &Failure{Reason: reason, Fatal: true, Err: fmt.Errorf(format, args...)}
}

// ReadOrder reads the order of kind T (PullOrder or SyncOrder) from the environment.
func ReadOrder[T any]() (T, error) {
	var order T
	text := os.Getenv(OrderVariable)
	if text == "" {
		return order, fmt.Errorf("environment variable %s is empty; it must hold the order as JSON", OrderVariable)
	}
	if err := json.Unmarshal([]byte(text), &order); err != nil {
		return order, fmt.Errorf("reading the order in %s: %w", OrderVariable, err)
	}
	return order, nil
}

// Close completes a report with the error that ended the run and gives the exit code.
func (r *Report) Close(err error) int {
	if err == nil {
		r.Result = "Succeeded"
		return ExitSucceeded
	}
	r.Result, r.Reason, r.Message = "Failed", "RunFailed", err.Error()
	var failure *Failure
	if errors.As(err, &failure) {
		r.Reason = failure.Reason
		if failure.Fatal {
			return ExitFatal
		}
	}
	return ExitRetry
}

// Encode writes a report as JSON of at most MaxReport bytes: examples go first, then the message is cut.
func (r Report) Encode() []byte {
	out := marshal(r)
	if len(out) <= MaxReport {
		return out
	}
	rejections := make([]Rejection, len(r.Rejections))
	for i, rejection := range r.Rejections {
		rejection.Example = ""
		rejections[i] = rejection
	}
	r.Rejections = rejections
	for out = marshal(r); len(out) > MaxReport && len(r.Message) > 0; out = marshal(r) {
		r.Message = cut(r.Message, len(r.Message)-(len(out)-MaxReport)-len("…"))
	}
	if len(out) > MaxReport {
		r.Rejections = nil
		out = marshal(r)
	}
	return out
}

// Decode reads a termination message.
func Decode(message string) (Report, error) {
	var report Report
	if err := json.Unmarshal([]byte(message), &report); err != nil {
		return Report{}, fmt.Errorf("reading a termination message: %w", err)
	}
	return report, nil
}

func marshal(r Report) []byte {
	out, err := json.Marshal(r)
	if err != nil { // a struct of texts and numbers always encodes
		panic(err)
	}
	return out
}

// cut shortens text to at most n bytes plus an ellipsis, at a rune's boundary.
func cut(text string, n int) string {
	if n <= 0 {
		return ""
	}
	for n > 0 && n < len(text) && text[n]&0xC0 == 0x80 {
		n--
	}
	return text[:min(n, len(text))] + "…"
}
