// Package s3test runs a throw-away storage that speaks S3 for a test: versitygw, a server that somebody else wrote.
package s3test

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// The one login that there is.
const (
	KeyID  = "reader"
	Secret = "secret-key"
)

// Bucket that is there.
const Bucket = "lists"

// Start starts versitygw. It gives its endpoint and a client that may write. The test must lie two folders below the
// project's, whose bin has the program, unless VERSITYGW names it.
func Start(t *testing.T) (string, *minio.Client) {
	t.Helper()
	program := os.Getenv("VERSITYGW")
	if program == "" {
		program = filepath.Join("..", "..", "bin", "versitygw")
	}
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("versitygw is missing (%v): \"make bin/versitygw\" in the project's folder builds it", err)
	}
	var listening net.ListenConfig
	free, err := listening.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	_ = free.Close()
	root, metadata := t.TempDir(), t.TempDir()
	cmd := exec.CommandContext(context.Background(), program, "--port", address, "--access", KeyID, "--secret", Secret, "--quiet", "posix", "--sidecar", metadata, root) // ended by the cleanup, which waits
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	client, err := minio.New(address, &minio.Options{Creds: credentials.NewStaticV4(KeyID, Secret, ""), Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if err = client.MakeBucket(t.Context(), Bucket, minio.MakeBucketOptions{}); err == nil {
			return "http://" + address, client
		}
		if time.Now().After(deadline) {
			t.Fatalf("versitygw does not answer: %v\n%s", err, &log)
		}
	}
}
