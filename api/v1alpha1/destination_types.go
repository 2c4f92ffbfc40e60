package v1alpha1

import (
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// DestinationSpec describes a system that holds audiences. Exactly one kind of system is set.
// +kubebuilder:validation:XValidation:rule="[has(self.webhook), has(self.sql), has(self.segment), has(self.metaCustomAudience), has(self.googleCustomerMatch), has(self.files), has(self.kafka), has(self.nats), has(self.connector)].filter(x, x).size() == 1",message="exactly one of webhook, sql, segment, metaCustomAudience, googleCustomerMatch, files, kafka, nats and connector is needed"
// +kubebuilder:validation:XValidation:rule="has(self.webhook) == has(oldSelf.webhook) && has(self.sql) == has(oldSelf.sql) && has(self.segment) == has(oldSelf.segment) && has(self.metaCustomAudience) == has(oldSelf.metaCustomAudience) && has(self.googleCustomerMatch) == has(oldSelf.googleCustomerMatch) && has(self.files) == has(oldSelf.files) && has(self.kafka) == has(oldSelf.kafka) && has(self.nats) == has(oldSelf.nats) && has(self.connector) == has(oldSelf.connector)",message="the kind of a Destination cannot be changed; make a new Destination"
type DestinationSpec struct {
	// platformRef names the Platform whose audiences may come here.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="platformRef cannot be changed; make a new Destination"
	// +required
	PlatformRef LocalReference `json:"platformRef"`
	// webhook receives members as JSON over HTTP.
	// +optional
	Webhook *WebhookDestination `json:"webhook,omitempty"`
	// sql holds members as rows of a table.
	// +optional
	SQL *SQLDestination `json:"sql,omitempty"`
	// segment is told of members by the calls that Segment's own audiences make.
	// +optional
	Segment *SegmentDestination `json:"segment,omitempty"`
	// metaCustomAudience is a Custom Audience of Meta's: Facebook and Instagram.
	// +optional
	MetaCustomAudience *MetaCustomAudienceDestination `json:"metaCustomAudience,omitempty"`
	// googleCustomerMatch is an audience of Google Ads or Display & Video 360.
	// +optional
	GoogleCustomerMatch *GoogleCustomerMatchDestination `json:"googleCustomerMatch,omitempty"`
	// files are told of members by records of who entered, changed and left.
	// +optional
	Files *FilesDestination `json:"files,omitempty"`
	// kafka is told of members by records of a topic.
	// +optional
	Kafka *KafkaDestination `json:"kafka,omitempty"`
	// nats is told of members by messages of a stream.
	// +optional
	NATS *NATSDestination `json:"nats,omitempty"`
	// connector is told of members by an output of Bento's.
	// +optional
	Connector *ConnectorDestination `json:"connector,omitempty"`
	// rateLimit bounds what all Syncs to this destination together ask of it. Absent: each asks as fast as it is answered.
	// +optional
	RateLimit *RateLimit `json:"rateLimit,omitempty"`
	// retry says how often and how long a run tries again.
	// +optional
	Retry *Retry `json:"retry,omitempty"`
	// suppress names Audiences of the same Platform whose members never leave to this destination: they are not added, and
	// they are taken out where they were, in every mode. Nobody is added until each of them has been evaluated.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	// +optional
	Suppress []LocalReference `json:"suppress,omitempty"`
	// suspend stops every run to this destination.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// WebhookDestination receives batches of changes as JSON over HTTP; docs/destinations/ describes the body.
type WebhookDestination struct {
	// url that batches are posted to.
	// +kubebuilder:validation:Pattern=`^https?://[^/]+.*$`
	// +kubebuilder:validation:MaxLength=2048
	// +required
	URL string `json:"url"`
	// tokenSecretRef names a token that is sent as "Authorization: Bearer".
	// +optional
	TokenSecretRef *SecretKeyReference `json:"tokenSecretRef,omitempty"`
	// signingKeySecretRefs name the keys that each request is signed with, as standardwebhooks.com describes it: 24 to 64
	// bytes in base64, with or without the prefix whsec_. With two keys each request has two signatures, so that a key can
	// be replaced without a request that a receiver cannot check. Absent: requests are not signed.
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=2
	// +optional
	SigningKeySecretRefs []SecretKeyReference `json:"signingKeySecretRefs,omitempty"`
}

// SQLDestination holds one row per member and audience; docs/destinations/ describes the table.
type SQLDestination struct {
	// driver of the database: postgres, or mysql for MySQL and MariaDB.
	// +kubebuilder:validation:Enum=postgres;mysql
	// +required
	Driver string `json:"driver"`
	// dsnSecretRef names the connection string, such as postgres://user:password@host:5432/database or
	// mysql://user:password@host:3306/database.
	// +required
	DSNSecretRef SecretKeyReference `json:"dsnSecretRef"`
	// table that holds the members, with its schema if it is not public, or its database if it is not that of the connection
	// string; it is made when missing.
	// +kubebuilder:validation:Pattern=`^([a-z_][a-z0-9_]{0,62}\.)?[a-z_][a-z0-9_]{0,62}$`
	// +required
	Table string `json:"table"`
}

// FilesDestination is a folder that runs write files of changes to; docs/destinations/files.md describes them.
// +kubebuilder:validation:XValidation:rule="self.url.startsWith('file:///') == has(self.claimRef)",message="a file:// url needs claimRef, the PersistentVolumeClaim that it lies in, and only it does"
// +kubebuilder:validation:XValidation:rule="self.url.startsWith('s3://') == has(self.s3)",message="an s3:// url needs s3, where and how the storage is reached, and only it does"
// +kubebuilder:validation:XValidation:rule="!has(self.s3) || has(self.s3.accessKeyIDSecretRef)",message="s3 needs accessKeyIDSecretRef and secretAccessKeySecretRef: nobody lets everybody write"
type FilesDestination struct {
	// url of the folder: s3://bucket/folder, or file:///folder inside the claim.
	// +kubebuilder:validation:Pattern=`^(s3://[^/*?]+|file://)/[^*?]+$`
	// +kubebuilder:validation:MaxLength=1024
	// +required
	URL string `json:"url"`
	// claimRef names the PersistentVolumeClaim that a file:// url lies in.
	// +optional
	ClaimRef *LocalReference `json:"claimRef,omitempty"`
	// s3 says where and how the storage of an s3:// url is reached.
	// +optional
	S3 *S3Storage `json:"s3,omitempty"`
	// format of the files.
	// +required
	Format FileFormat `json:"format"`
}

// KafkaDestination is a topic of Kafka, or of what speaks its protocol; docs/destinations/messages.md describes the records.
type KafkaDestination struct {
	// brokers to ask first, host:port.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=262
	// +kubebuilder:validation:items:Pattern=`^[^:/]+:[0-9]{1,5}$`
	// +required
	Brokers []string `json:"brokers"`
	// topic to write to; it must be there.
	// +kubebuilder:validation:MaxLength=249
	// +kubebuilder:validation:Pattern=`^[a-zA-Z0-9._-]+$`
	// +required
	Topic string `json:"topic"`
	// tls encrypts connections. Default: they are not.
	// +optional
	TLS *KafkaTLS `json:"tls,omitempty"`
	// sasl logs in. Default: nobody does.
	// +optional
	SASL *KafkaSASL `json:"sasl,omitempty"`
}

// NATSDestination is a subject of a stream of JetStream; docs/destinations/messages.md describes the messages.
// +kubebuilder:validation:XValidation:rule="has(self.username) == has(self.passwordSecretRef)",message="username and passwordSecretRef need each other"
// +kubebuilder:validation:XValidation:rule="!(has(self.username) && has(self.credentialsSecretRef))",message="either username or credentialsSecretRef, not both"
type NATSDestination struct {
	// urls of servers, nats://host:port or tls://host:port, without a user.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=512
	// +kubebuilder:validation:items:Pattern=`^(nats|tls|ws|wss)://[^@/]+$`
	// +required
	URLs []string `json:"urls"`
	// subject to publish to; a stream must take it.
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:Pattern=`^[^\s.*>]+(\.[^\s.*>]+)*$`
	// +required
	Subject string `json:"subject"`
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

// ConnectorDestination is what one of Bento's outputs writes to.
type ConnectorDestination struct {
	// output as Bento's documentation describes it, such as {mqtt: {urls: [...], topic: ...}}. Which there are says
	// docs/destinations/connector.md. In its texts ${NAME} stands for the secret of that name.
	// +required
	Output apiextensionsv1.JSON `json:"output"`
	// secretRefs give secrets to the output by name.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	// +optional
	SecretRefs []NamedSecret `json:"secretRefs,omitempty"`
}

// SegmentCall is a kind of call that tells of a member.
// +kubebuilder:validation:Enum=Identify;Track
type SegmentCall string

// Kinds of calls.
const (
	// SegmentIdentify : a trait named as the audience is true for members and false for those who left.
	SegmentIdentify SegmentCall = "Identify"
	// SegmentTrack : the events Audience Entered and Audience Exited.
	SegmentTrack SegmentCall = "Track"
)

// SegmentDestination is a source of Segment, RudderStack or whatever else takes Segment's HTTP API;
// docs/destinations/segment.md describes the calls.
type SegmentDestination struct {
	// url of the tracking API, without /v1/batch. Segment's workspaces in the EU have https://events.eu1.segmentapis.com.
	// +kubebuilder:validation:Pattern=`^https?://[^/]+.*$`
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:default="https://api.segment.io"
	// +optional
	URL string `json:"url,omitempty"`
	// writeKeySecretRef names the write key of the source there.
	// +required
	WriteKeySecretRef SecretKeyReference `json:"writeKeySecretRef"`
	// calls that are made.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=2
	// +kubebuilder:default={Identify,Track}
	// +optional
	Calls []SegmentCall `json:"calls,omitempty"`
}

// MetaCustomAudienceDestination is a Custom Audience that was made from a customer file, with values hashed by Meta's
// rules; docs/destinations/meta.md describes what is sent.
type MetaCustomAudienceDestination struct {
	// audienceID of the Custom Audience.
	// +kubebuilder:validation:Pattern=`^[0-9]{5,24}$`
	// +required
	AudienceID string `json:"audienceID"`
	// accessTokenSecretRef names the access token of a system user with the permission ads_management.
	// +required
	AccessTokenSecretRef SecretKeyReference `json:"accessTokenSecretRef"`
	// apiVersion of the Graph API.
	// +kubebuilder:validation:Pattern=`^v[0-9]{1,3}\.[0-9]{1,2}$`
	// +kubebuilder:default="v25.0"
	// +optional
	APIVersion string `json:"apiVersion,omitempty"`
	// url of the Graph API.
	// +kubebuilder:validation:Pattern=`^https?://[^/]+.*$`
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:default="https://graph.facebook.com"
	// +optional
	URL string `json:"url,omitempty"`
}

// GoogleAccountType is a product of Google's that has accounts.
// +kubebuilder:validation:Enum=GoogleAds;DisplayVideoPartner;DisplayVideoAdvertiser
type GoogleAccountType string

// GoogleAccount is an account of one of Google's products.
type GoogleAccount struct {
	// type of the account.
	// +kubebuilder:default=GoogleAds
	// +optional
	Type GoogleAccountType `json:"type,omitempty"`
	// id of the account, digits alone.
	// +kubebuilder:validation:Pattern=`^[0-9]{1,20}$`
	// +required
	ID string `json:"id"`
}

// GoogleConsentStatus says whether the members gave a consent.
// +kubebuilder:validation:Enum=Granted;Denied
type GoogleConsentStatus string

// GoogleConsent is what the members of an audience consented to; Google asks for both in the European Economic Area.
type GoogleConsent struct {
	// adUserData : consent to send user data to Google for advertising.
	// +required
	AdUserData GoogleConsentStatus `json:"adUserData"`
	// adPersonalization : consent to personalised advertising.
	// +required
	AdPersonalization GoogleConsentStatus `json:"adPersonalization"`
}

// GoogleCustomerMatchDestination is an audience for Customer Match, through the Data Manager API, with values hashed by
// Google's rules; docs/destinations/google.md describes what is sent.
type GoogleCustomerMatchDestination struct {
	// account that the audience belongs to.
	// +required
	Account GoogleAccount `json:"account"`
	// loginAccount is the manager account through which the account is reached. Absent: it is reached directly.
	// +optional
	LoginAccount *GoogleAccount `json:"loginAccount,omitempty"`
	// audienceID is the id of the user list.
	// +kubebuilder:validation:Pattern=`^[0-9]{1,20}$`
	// +required
	AudienceID string `json:"audienceID"`
	// credentialsSecretRef names the JSON key of a service account that may use the account.
	// +required
	CredentialsSecretRef SecretKeyReference `json:"credentialsSecretRef"`
	// consent that the members gave. Nothing is assumed: who did not consent is kept out by the Audience.
	// +required
	Consent GoogleConsent `json:"consent"`
	// termsOfService says that you accepted the Customer Match terms of service.
	// +kubebuilder:validation:Enum=Accepted
	// +required
	TermsOfService string `json:"termsOfService"`
	// url of the Data Manager API.
	// +kubebuilder:validation:Pattern=`^https?://[^/]+.*$`
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:default="https://datamanager.googleapis.com"
	// +optional
	URL string `json:"url,omitempty"`
}

// DestinationStatus tells how a Destination is doing.
type DestinationStatus struct {
	CommonStatus `json:",inline"`
	// type is the kind of the destination, such as webhook or sql.
	// +kubebuilder:validation:MaxLength=32
	// +optional
	Type string `json:"type,omitempty"`
	// audiences that are synced to this destination.
	// +optional
	Audiences int64 `json:"audiences"`
}

// Destination is a system that holds audiences: a mail tool, an ad platform, a database.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=dest,categories=kohort
// +kubebuilder:printcolumn:name="Platform",type=string,JSONPath=`.spec.platformRef.name`
// +kubebuilder:printcolumn:name="Type",type=string,JSONPath=`.status.type`
// +kubebuilder:printcolumn:name="Audiences",type=integer,JSONPath=`.status.audiences`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Status",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 63",message="a Destination's name has at most 63 characters"
type Destination struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// +required
	Spec DestinationSpec `json:"spec"`
	// +kubebuilder:default={"observedGeneration":-1}
	// +optional
	Status DestinationStatus `json:"status,omitempty"`
}

// DestinationList is a list of Destinations.
// +kubebuilder:object:root=true
type DestinationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Destination `json:"items"`
}

// Common gives the part of the status that every kind has.
func (d *Destination) Common() *CommonStatus { return &d.Status.CommonStatus }

// Type is the name of the field of the spec that describes the system.
func (d *Destination) Type() string {
	switch {
	case d.Spec.Webhook != nil:
		return "webhook"
	case d.Spec.Segment != nil:
		return "segment"
	case d.Spec.MetaCustomAudience != nil:
		return "metaCustomAudience"
	case d.Spec.GoogleCustomerMatch != nil:
		return "googleCustomerMatch"
	case d.Spec.Files != nil:
		return "files"
	case d.Spec.Kafka != nil:
		return "kafka"
	case d.Spec.NATS != nil:
		return "nats"
	case d.Spec.Connector != nil:
		return "connector"
	}
	return "sql"
}
