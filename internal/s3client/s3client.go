// Package s3client connects to storages that speak S3 as Sources and Destinations name them.
package s3client

import (
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"kohort.dev/kohort/internal/run"
)

// Keys are a login.
type Keys struct{ ID, Secret string }

// New makes a client; it connects at the first use. Without keys it asks as anybody may. A request is tried so many times,
// and given up when nothing is answered for as long as patience. An error completes the sentence "spec.files.s3 …".
func New(where run.S3, keys *Keys, tries int, patience time.Duration) (*minio.Client, error) {
	endpoint, err := url.Parse(where.Endpoint)
	if err != nil || endpoint.Host == "" || (endpoint.Scheme != "http" && endpoint.Scheme != "https") {
		return nil, fmt.Errorf("has the endpoint %q, which is not of the form https://host", where.Endpoint)
	}
	login := credentials.NewStatic("", "", "", credentials.SignatureAnonymous)
	if keys != nil {
		login = credentials.NewStaticV4(keys.ID, keys.Secret, "")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = patience
	transport.DisableCompression = true // a .gz object must arrive as it is
	lookup := minio.BucketLookupAuto
	if where.PathStyle {
		lookup = minio.BucketLookupPath
	}
	client, err := minio.New(endpoint.Host, &minio.Options{
		Creds: login, Secure: endpoint.Scheme == "https", Region: where.Region, Transport: transport, BucketLookup: lookup, MaxRetries: tries,
	})
	if err != nil {
		return nil, fmt.Errorf("cannot be used: %w", err)
	}
	return client, nil
}
