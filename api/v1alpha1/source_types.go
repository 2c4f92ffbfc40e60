package v1alpha1

import (
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Party says whose data it is; it is kept with every event to the end.
// +kubebuilder:validation:Enum=First;Second;Third
type Party string

// Parties.
const (
	PartyFirst  Party = "First"
	PartySecond Party = "Second"
	PartyThird  Party = "Third"
)

// SourceSpec describes one touchpoint. Exactly one of http, files, sql, kafka, nats and connector says where events come from.
// +kubebuilder:validation:XValidation:rule="[has(self.http), has(self.files), has(self.sql), has(self.kafka), has(self.nats), has(self.connector), has(self.webhook)].filter(x, x).size() == 1",message="exactly one of http, files, sql, kafka, nats, connector and webhook is needed"
// +kubebuilder:validation:XValidation:rule="has(self.http) == has(oldSelf.http) && has(self.files) == has(oldSelf.files) && has(self.sql) == has(oldSelf.sql) && has(self.kafka) == has(oldSelf.kafka) && has(self.nats) == has(oldSelf.nats) && has(self.connector) == has(oldSelf.connector) && has(self.webhook) == has(oldSelf.webhook)",message="the kind of a Source cannot be changed; make a new Source"
// +kubebuilder:validation:XValidation:rule="has(self.http) != has(self.mapping)",message="mapping is required with every kind but http, and not used with http"
// +kubebuilder:validation:XValidation:rule="!has(self.schedule) || has(self.files) || has(self.sql)",message="schedule is for files and sql; every other Source takes events at any time"
// +kubebuilder:validation:XValidation:rule="!has(self.timeZone) || has(self.schedule)",message="timeZone needs a schedule"
// +kubebuilder:validation:XValidation:rule="!(has(self.startingDeadline) || has(self.catchUp)) || has(self.schedule)",message="startingDeadline and catchUp need a schedule"
// +kubebuilder:validation:XValidation:rule="!has(self.catchUp) || self.catchUp != 'All' || has(self.startingDeadline)",message="catchUp All needs startingDeadline, which says how far back it goes"
type SourceSpec struct {
	// platformRef names the Platform that receives the events.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="platformRef cannot be changed; make a new Source"
	// +required
	PlatformRef LocalReference `json:"platformRef"`
	// party says whose data it is. Default First.
	// +optional
	Party Party `json:"party,omitempty"`
	// http takes events from SDKs that speak Segment's tracking API.
	// +optional
	HTTP *HTTPSource `json:"http,omitempty"`
	// files reads CSV, JSONL or Parquet files.
	// +optional
	Files *FilesSource `json:"files,omitempty"`
	// sql reads the rows of a query.
	// +optional
	SQL *SQLSource `json:"sql,omitempty"`
	// kafka reads topics.
	// +optional
	Kafka *KafkaSource `json:"kafka,omitempty"`
	// nats reads a stream of JetStream.
	// +optional
	NATS *NATSSource `json:"nats,omitempty"`
	// connector reads any other queue, by an input of Bento's.
	// +optional
	Connector *ConnectorSource `json:"connector,omitempty"`
	// webhook takes requests with any JSON, as other systems send them.
	// +optional
	Webhook *WebhookSource `json:"webhook,omitempty"`
	// mapping (Bloblang) makes events of a record: root is one event or a list of events as Segment's tracking API
	// writes them; deleted() leaves the record out.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32768
	// +optional
	Mapping string `json:"mapping,omitempty"`
	// schedule of runs; without it a Source runs once, and again when asked.
	// +optional
	Schedule Schedule `json:"schedule,omitempty"`
	// timeZone of a cron schedule, an IANA name such as Europe/Berlin. Default UTC.
	// +kubebuilder:validation:MaxLength=64
	// +optional
	TimeZone string `json:"timeZone,omitempty"`
	// startingDeadline is how late a run may start. A slot that could not be run so long, because the Platform did not serve
	// or the run before took its time, is passed over. Default: none, however late.
	// +optional
	StartingDeadline Duration `json:"startingDeadline,omitempty"`
	// catchUp says which of the slots that were missed are run: Latest alone, which covers the time of all (the default), or
	// All, one after the other.
	// +kubebuilder:validation:Enum=Latest;All
	// +optional
	CatchUp CatchUp `json:"catchUp,omitempty"`
	// trackingPlan says what events look like, and what happens to those that look otherwise.
	// +optional
	TrackingPlan *TrackingPlan `json:"trackingPlan,omitempty"`
	// deduplication says when an event is one that was stored before.
	// +optional
	Deduplication *Deduplication `json:"deduplication,omitempty"`
	// suspend stops the collector, the listener or the schedule.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// CatchUp says which of the slots that were missed are run.
type CatchUp string

// Values of CatchUp.
const (
	CatchUpLatest CatchUp = "Latest"
	CatchUpAll    CatchUp = "All"
)

// HTTPSource is a collector that SDKs send to.
// +kubebuilder:validation:XValidation:rule="!(has(self.replicas) && has(self.autoscaling))",message="either replicas or autoscaling, not both"
type HTTPSource struct {
	// replicas is a fixed number of collectors.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	// +optional
	Replicas *int32 `json:"replicas,omitempty"`
	// autoscaling lets the number of collectors follow their load. Default: one to three at 70 % CPU.
	// +optional
	Autoscaling *Autoscaling `json:"autoscaling,omitempty"`
	// writeKeySecretRef names the key that SDKs must send. Absent: a Secret named <source>-write-key is made, key writeKey.
	// +optional
	WriteKeySecretRef *SecretKeyReference `json:"writeKeySecretRef,omitempty"`
	// limits of what is taken.
	// +optional
	Limits *HTTPLimits `json:"limits,omitempty"`
	// cors says which sites may send from a browser. Default: every site.
	// +optional
	CORS *CORS `json:"cors,omitempty"`
	// clientIP says what is kept of the address that a request comes from, as context.ip of events that do not say one
	// themselves: Keep, Anonymize (24 bits of IPv4, 48 of IPv6) or Drop. Default Keep. Use Drop when a server of your own
	// sends, for the address is then that server's.
	// +optional
	ClientIP ClientIP `json:"clientIP,omitempty"`
	// trustedHops is the number of proxies (load balancer, Ingress) in front of the collector that append to
	// X-Forwarded-For. Default 0: the header is not believed, and the client is whoever is connected.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10
	// +optional
	TrustedHops int32 `json:"trustedHops,omitempty"`
}

// ClientIP says what is kept of the address that a request comes from.
// +kubebuilder:validation:Enum=Keep;Anonymize;Drop
type ClientIP string

// What is kept of a client's address.
const (
	ClientIPKeep      ClientIP = "Keep"
	ClientIPAnonymize ClientIP = "Anonymize"
	ClientIPDrop      ClientIP = "Drop"
)

// HTTPLimits bound what a collector takes.
// +kubebuilder:validation:XValidation:rule="!has(self.burst) || has(self.eventsPerSecond)",message="burst needs eventsPerSecond"
type HTTPLimits struct {
	// eventsPerSecond that each of the Source's collectors takes in the long run; more is answered with 429 and the time
	// to wait. Default: no limit.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	// +optional
	EventsPerSecond *int32 `json:"eventsPerSecond,omitempty"`
	// burst is how many events may come at once. Default: those of one second.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000000
	// +optional
	Burst *int32 `json:"burst,omitempty"`
	// maxBatchBytes of a batch, unpacked; a larger one is refused with 400. Default 512000, as Segment; RudderStack's SDKs
	// may send 4096000.
	// +kubebuilder:validation:Minimum=32768
	// +kubebuilder:validation:Maximum=4194304
	// +optional
	MaxBatchBytes *int32 `json:"maxBatchBytes,omitempty"`
}

// CORS says which sites may send from a browser.
type CORS struct {
	// allowedOrigins such as https://shop.example.com, or https://*.example.com for every name below example.com. Pages
	// of other sites are refused with 403. What is not a browser is not asked.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:validation:items:Pattern=`^https?://(\*\.)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?(:[0-9]{1,5})?$`
	// +required
	AllowedOrigins []string `json:"allowedOrigins"`
}

// Autoscaling bounds a HorizontalPodAutoscaler.
// +kubebuilder:validation:XValidation:rule="self.minReplicas <= self.maxReplicas",message="minReplicas must not exceed maxReplicas"
type Autoscaling struct {
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	// +required
	MinReplicas int32 `json:"minReplicas"`
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	// +required
	MaxReplicas int32 `json:"maxReplicas"`
	// targetCPUUtilizationPercentage of the requested CPU. Default 70.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	// +optional
	TargetCPUUtilizationPercentage *int32 `json:"targetCPUUtilizationPercentage,omitempty"`
}

// FileFormat of a files Source.
// +kubebuilder:validation:Enum=CSV;JSONL;Parquet
type FileFormat string

// Formats of a files Source.
const (
	FormatCSV     FileFormat = "CSV"
	FormatJSONL   FileFormat = "JSONL"
	FormatParquet FileFormat = "Parquet"
)

// FilesSource reads one file, or every file that a pattern matches.
// +kubebuilder:validation:XValidation:rule="self.url.startsWith('file:///') == has(self.claimRef)",message="a file:// url needs claimRef, the PersistentVolumeClaim that holds it, and only it does"
// +kubebuilder:validation:XValidation:rule="self.url.startsWith('s3://') == has(self.s3)",message="an s3:// url needs s3, where and how the storage is reached, and only it does"
type FilesSource struct {
	// url of the file: http://, https://, s3://bucket/key, or file:/// with a path inside the claim. In keys and paths * and
	// ? match names. What is packed with gzip is unpacked.
	// +kubebuilder:validation:Pattern=`^(https?://[^/]+|s3://[^/*?]+|file://)/.+$`
	// +kubebuilder:validation:MaxLength=2048
	// +required
	URL string `json:"url"`
	// claimRef names the PersistentVolumeClaim that a file:// url reads from; it is mounted read-only.
	// +optional
	ClaimRef *LocalReference `json:"claimRef,omitempty"`
	// s3 says where and how the storage of an s3:// url is reached.
	// +optional
	S3 *S3Storage `json:"s3,omitempty"`
	// format of the records.
	// +required
	Format FileFormat `json:"format"`
}

// S3Storage is a storage that speaks S3: Amazon's, Google's, MinIO, Ceph, R2 and others.
// +kubebuilder:validation:XValidation:rule="has(self.accessKeyIDSecretRef) == has(self.secretAccessKeySecretRef)",message="accessKeyIDSecretRef and secretAccessKeySecretRef need each other"
type S3Storage struct {
	// endpoint such as https://s3.eu-central-1.amazonaws.com or http://minio.storage.svc:9000.
	// +kubebuilder:validation:Pattern=`^https?://[^/]+$`
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:default="https://s3.amazonaws.com"
	// +optional
	Endpoint string `json:"endpoint,omitempty"`
	// region of the bucket. Default: the storage is asked.
	// +kubebuilder:validation:MaxLength=64
	// +optional
	Region string `json:"region,omitempty"`
	// pathStyle puts the bucket into the path and not into the host's name. Default: as the endpoint usually wants it.
	// +optional
	PathStyle bool `json:"pathStyle,omitempty"`
	// accessKeyIDSecretRef names the id of an access key. Absent: everybody may read.
	// +optional
	AccessKeyIDSecretRef *SecretKeyReference `json:"accessKeyIDSecretRef,omitempty"`
	// secretAccessKeySecretRef names its secret.
	// +optional
	SecretAccessKeySecretRef *SecretKeyReference `json:"secretAccessKeySecretRef,omitempty"`
}

// SQLSource reads the rows of a query.
// +kubebuilder:validation:XValidation:rule="!has(self.cursorColumn) || self.query.contains('$1')",message="with cursorColumn the query must use $1, the cursor's last value (NULL in the first run)"
type SQLSource struct {
	// driver of the database: postgres, or mysql for MySQL and MariaDB.
	// +kubebuilder:validation:Enum=postgres;mysql
	// +required
	Driver string `json:"driver"`
	// dsnSecretRef names the connection string, such as postgres://user:password@host:5432/database or
	// mysql://user:password@host:3306/database.
	// +required
	DSNSecretRef SecretKeyReference `json:"dsnSecretRef"`
	// query that gives one row per record.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32768
	// +required
	Query string `json:"query"`
	// cursorColumn of the result whose greatest value a run hands to the next one as $1. The query must order by it.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +optional
	CursorColumn string `json:"cursorColumn,omitempty"`
}

// StartFrom says where a consumer that is new begins.
// +kubebuilder:validation:Enum=Earliest;Latest
type StartFrom string

// Where a consumer that is new begins.
const (
	StartEarliest StartFrom = "Earliest"
	StartLatest   StartFrom = "Latest"
)

// KafkaSource reads topics of Kafka, or of what speaks its protocol.
type KafkaSource struct {
	// brokers to ask first, host:port.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=262
	// +kubebuilder:validation:items:Pattern=`^[^:/]+:[0-9]{1,5}$`
	// +required
	Brokers []string `json:"brokers"`
	// topics to read.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=249
	// +kubebuilder:validation:items:Pattern=`^[a-zA-Z0-9._-]+$`
	// +required
	Topics []string `json:"topics"`
	// consumerGroup that keeps how far the topics were read. Default kohort-<namespace>-<source>.
	// +kubebuilder:validation:MaxLength=249
	// +optional
	ConsumerGroup string `json:"consumerGroup,omitempty"`
	// startFrom says where a new consumer group begins. Default Earliest.
	// +optional
	StartFrom StartFrom `json:"startFrom,omitempty"`
	// tls encrypts connections. Default: they are not.
	// +optional
	TLS *KafkaTLS `json:"tls,omitempty"`
	// sasl logs in. Default: nobody does.
	// +optional
	SASL *KafkaSASL `json:"sasl,omitempty"`
}

// KafkaTLS encrypts connections.
type KafkaTLS struct {
	// caSecretRef names certificates (PEM) of those who may sign the brokers'. Default: the public authorities.
	// +optional
	CASecretRef *SecretKeyReference `json:"caSecretRef,omitempty"`
}

// KafkaSASL logs in.
type KafkaSASL struct {
	// mechanism of the login.
	// +kubebuilder:validation:Enum=Plain;ScramSHA256;ScramSHA512
	// +required
	Mechanism string `json:"mechanism"`
	// username of the login.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +required
	Username string `json:"username"`
	// passwordSecretRef names its password.
	// +required
	PasswordSecretRef SecretKeyReference `json:"passwordSecretRef"`
}

// NATSSource reads a stream of JetStream through a durable consumer.
// +kubebuilder:validation:XValidation:rule="has(self.username) == has(self.passwordSecretRef)",message="username and passwordSecretRef need each other"
// +kubebuilder:validation:XValidation:rule="!(has(self.username) && has(self.credentialsSecretRef))",message="either username or credentialsSecretRef, not both"
type NATSSource struct {
	// urls of servers, nats://host:port or tls://host:port, without a user.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=512
	// +kubebuilder:validation:items:Pattern=`^(nats|tls|ws|wss)://[^@/]+$`
	// +required
	URLs []string `json:"urls"`
	// stream to read.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:Pattern=`^[^\s.*>/]+$`
	// +required
	Stream string `json:"stream"`
	// subject of the stream's to read, such as orders.eu.>. Default: all.
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^[^\s]+$`
	// +optional
	Subject string `json:"subject,omitempty"`
	// durable is the name of the consumer that keeps how far the stream was read. Default kohort-<namespace>-<source>.
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:Pattern=`^[^\s.*>/]+$`
	// +optional
	Durable string `json:"durable,omitempty"`
	// startFrom says where a new consumer begins. Default Earliest.
	// +optional
	StartFrom StartFrom `json:"startFrom,omitempty"`
	// username of the login.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +optional
	Username string `json:"username,omitempty"`
	// passwordSecretRef names its password.
	// +optional
	PasswordSecretRef *SecretKeyReference `json:"passwordSecretRef,omitempty"`
	// credentialsSecretRef names a credentials file as nsc writes it, instead of a user.
	// +optional
	CredentialsSecretRef *SecretKeyReference `json:"credentialsSecretRef,omitempty"`
}

// ConnectorSource reads what one of Bento's inputs reads.
type ConnectorSource struct {
	// input as Bento's documentation describes it, such as {mqtt: {urls: [...], topics: [...]}}. Which there are says
	// docs/sources/connector.md. In its texts ${NAME} stands for the secret of that name.
	// +required
	Input apiextensionsv1.JSON `json:"input"`
	// secretRefs give secrets to the input by name.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	// +optional
	SecretRefs []NamedSecret `json:"secretRefs,omitempty"`
}

// WebhookVerification is how a request shows that its sender has the secret.
// +kubebuilder:validation:Enum=Token;HMAC;Stripe;StandardWebhooks
type WebhookVerification string

// Verifications of webhooks.
const (
	// VerifyToken : the secret itself, as a bearer token or as the password of Basic authentication.
	VerifyToken WebhookVerification = "Token"
	// VerifyHMAC : an HMAC-SHA256 of the body in a header.
	VerifyHMAC WebhookVerification = "HMAC"
	// VerifyStripe : the header Stripe-Signature.
	VerifyStripe WebhookVerification = "Stripe"
	// VerifyStandardWebhooks : the headers of https://www.standardwebhooks.com, as Svix and others send them.
	VerifyStandardWebhooks WebhookVerification = "StandardWebhooks"
)

// WebhookSource takes requests with any JSON, or a form.
// +kubebuilder:validation:XValidation:rule="!has(self.verify) || self.verify == 'Token' || has(self.secretRef)",message="verify HMAC, Stripe and StandardWebhooks need secretRef, the secret that the sender signs with"
// +kubebuilder:validation:XValidation:rule="(has(self.verify) && self.verify == 'HMAC') == has(self.signature)",message="verify HMAC needs signature, where the request has it, and only it does"
type WebhookSource struct {
	// secretRef names the secret that senders have. Default: one is made, in the Secret <source>-webhook, key secret.
	// +optional
	SecretRef *SecretKeyReference `json:"secretRef,omitempty"`
	// verify says how a request shows that its sender has the secret. Default Token.
	// +optional
	Verify WebhookVerification `json:"verify,omitempty"`
	// signature says where an HMAC stands.
	// +optional
	Signature *WebhookSignature `json:"signature,omitempty"`
	// replicas that take requests. Default 1.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	// +optional
	Replicas *int32 `json:"replicas,omitempty"`
}

// WebhookSignature says where a request has the HMAC-SHA256 of its body.
type WebhookSignature struct {
	// header that has it, such as X-Hub-Signature-256.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9-]+$`
	// +required
	Header string `json:"header"`
	// prefix of the header's value, such as sha256=.
	// +kubebuilder:validation:MaxLength=32
	// +optional
	Prefix string `json:"prefix,omitempty"`
	// encoding of the HMAC. Default Hex.
	// +kubebuilder:validation:Enum=Hex;Base64
	// +optional
	Encoding string `json:"encoding,omitempty"`
}

// NamedSecret is a secret by a name.
type NamedSecret struct {
	// name that ${NAME} in the input uses.
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[A-Z][A-Z0-9_]*$`
	// +required
	Name string `json:"name"`
	// secretRef names the Secret's key.
	// +required
	SecretRef SecretKeyReference `json:"secretRef"`
}

// SourceStatus tells how a Source is doing.
type SourceStatus struct {
	CommonStatus `json:",inline"`
	// type is the kind of the Source, such as http or files.
	// +kubebuilder:validation:MaxLength=16
	// +optional
	Type string `json:"type,omitempty"`
	// accepted is the number of events stored. Written by the engine.
	// +optional
	Accepted *int64 `json:"accepted,omitempty"`
	// rejected is the number of events and records in quarantine. Written by the engine.
	// +optional
	Rejected *int64 `json:"rejected,omitempty"`
	// lastEventTime is when the newest event was received. Written by the engine.
	// +optional
	LastEventTime *metav1.Time `json:"lastEventTime,omitempty"`
	// trackingPlan counts the events that broke it. Written by the engine.
	// +optional
	TrackingPlan *TrackingPlanStatus `json:"trackingPlan,omitempty"`
	// endpoint that SDKs send to, inside the cluster.
	// +kubebuilder:validation:MaxLength=512
	// +optional
	Endpoint string `json:"endpoint,omitempty"`
	// lastRun of a files or sql Source.
	// +optional
	LastRun *PullRun `json:"lastRun,omitempty"`
	// nextRun of a schedule.
	// +optional
	NextRun *metav1.Time `json:"nextRun,omitempty"`
}

// PullRun tells how one run of a files or sql Source went.
type PullRun struct {
	Run `json:",inline"`
	// read is the number of records read.
	// +optional
	Read int64 `json:"read,omitempty"`
	// published is the number of events handed to the stream and acknowledged by it.
	// +optional
	Published int64 `json:"published,omitempty"`
	// rejected is the number of records sent to quarantine.
	// +optional
	Rejected int64 `json:"rejected,omitempty"`
	// rejections by reason, most frequent first.
	// +listType=map
	// +listMapKey=reason
	// +kubebuilder:validation:MaxItems=10
	// +optional
	Rejections []RejectionCount `json:"rejections,omitempty"`
}

// Source is a touchpoint: a website, an app, a CRM, a support desk.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=src,categories=kohort
// +kubebuilder:printcolumn:name="Platform",type=string,JSONPath=`.spec.platformRef.name`
// +kubebuilder:printcolumn:name="Type",type=string,JSONPath=`.status.type`
// +kubebuilder:printcolumn:name="Accepted",type=integer,JSONPath=`.status.accepted`
// +kubebuilder:printcolumn:name="Rejected",type=integer,JSONPath=`.status.rejected`
// +kubebuilder:printcolumn:name="Last-Event",type=date,JSONPath=`.status.lastEventTime`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Status",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 40",message="a Source's name has at most 40 characters, for the names of its workloads are made from it"
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="a Source's name starts with a letter and has no dots, for the names of its Services are made from it"
type Source struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// +required
	Spec SourceSpec `json:"spec"`
	// +kubebuilder:default={"observedGeneration":-1}
	// +optional
	Status SourceStatus `json:"status,omitempty"`
}

// SourceList is a list of Sources.
// +kubebuilder:object:root=true
type SourceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Source `json:"items"`
}

// Common gives the part of the status that every kind has.
func (s *Source) Common() *CommonStatus { return &s.Status.CommonStatus }

// GetParty is spec.party or its default, First.
func (s *Source) GetParty() Party {
	if s.Spec.Party == "" {
		return PartyFirst
	}
	return s.Spec.Party
}

// Type is the name of the field of the spec that says where events come from.
func (s *Source) Type() string {
	switch {
	case s.Spec.HTTP != nil:
		return "http"
	case s.Spec.Files != nil:
		return "files"
	case s.Spec.Kafka != nil:
		return "kafka"
	case s.Spec.NATS != nil:
		return "nats"
	case s.Spec.Connector != nil:
		return "connector"
	case s.Spec.Webhook != nil:
		return "webhook"
	default:
		return "sql"
	}
}

// Listens says that a listener reads all the time, or takes requests, rather than a collector that SDKs send to or runs
// that read once.
func (s *Source) Listens() bool {
	return s.Spec.Kafka != nil || s.Spec.NATS != nil || s.Spec.Connector != nil || s.Spec.Webhook != nil
}

// WebhookSecret names the Secret and key that hold a webhook Source's secret.
func (s *Source) WebhookSecret() SecretKeyReference {
	if s.Spec.Webhook != nil && s.Spec.Webhook.SecretRef != nil {
		return *s.Spec.Webhook.SecretRef
	}
	return SecretKeyReference{Name: s.Name + "-webhook", Key: "secret"}
}

// WriteKey names the Secret and key that hold an http Source's write key.
func (s *Source) WriteKey() SecretKeyReference {
	if s.Spec.HTTP != nil && s.Spec.HTTP.WriteKeySecretRef != nil {
		return *s.Spec.HTTP.WriteKeySecretRef
	}
	return SecretKeyReference{Name: s.Name + "-write-key", Key: "writeKey"}
}
