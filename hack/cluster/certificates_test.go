package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"os"
	"testing"
	"time"
)

func certificate(t *testing.T, l layout, name string) *x509.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(l.certificate(name), l.key(name))
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf
}

func pool(certificate *x509.Certificate) *x509.CertPool {
	roots := x509.NewCertPool()
	roots.AddCert(certificate)
	return roots
}

func TestIdentities(t *testing.T) {
	l := layout{root: t.TempDir()}
	if err := l.make(); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	if err := l.makeIdentities(now); err != nil {
		t.Fatal(err)
	}
	authority := pool(certificate(t, l, "ca"))

	// Pods know the API server by its Service's name and address, this machine
	// by the loopback address.
	for _, host := range []string{"kubernetes.default.svc", serviceRouter, nodeAddress, "127.0.0.1", "localhost"} {
		if _, err := certificate(t, l, "kube-apiserver").Verify(x509.VerifyOptions{Roots: authority, DNSName: host}); err != nil {
			t.Errorf("the API server as %s: %v", host, err)
		}
	}
	client := x509.VerifyOptions{Roots: authority, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, user := range users() {
		got := certificate(t, l, user.file)
		if _, err := got.Verify(client); err != nil || got.Subject.CommonName != user.name {
			t.Errorf("user %s: %s, %v", user.name, got.Subject, err)
		}
	}
	// etcd must not let in who is only known to the API server.
	etcd := client
	etcd.Roots = pool(certificate(t, l, "etcd-ca"))
	if _, err := certificate(t, l, "admin").Verify(etcd); err == nil {
		t.Error("etcd's authority vouches for the administrator")
	}
	if _, err := certificate(t, l, "apiserver-to-etcd").Verify(etcd); err != nil {
		t.Errorf("the API server at etcd: %v", err)
	}

	info, err := os.Stat(l.kubeconfig())
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("kubeconfig: %v, %v; want it for its owner alone", info.Mode(), err)
	}
	before, err := os.ReadFile(l.kubeconfig())
	if err != nil || !json.Valid(before) {
		t.Fatalf("kubeconfig: %v", err)
	}
	if err := l.makeIdentities(now); err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(l.kubeconfig()); err != nil || string(after) != string(before) {
		t.Errorf("a second call changed the kubeconfig that people use: %v", err)
	}
}

func TestWriteFileLeavesTheSameAlone(t *testing.T) {
	file := t.TempDir() + "/config"
	if err := writeFile(file, []byte("a")); err != nil {
		t.Fatal(err)
	}
	past := time.Now().Add(-time.Hour).Truncate(time.Second)
	if err := os.Chtimes(file, past, past); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(file, []byte("a")); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || !info.ModTime().Equal(past) {
		t.Errorf("kube-proxy would have ended: its configuration was written again, %v", err)
	}
	if err := writeFile(file, []byte("b")); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "b" {
		t.Errorf("got %q, %v", data, err)
	}
}
