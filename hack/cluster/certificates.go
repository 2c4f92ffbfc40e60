package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"time"
)

// certificateLife outlasts any local cluster, which is thrown away instead of
// renewed.
const certificateLife = 10 * 365 * 24 * time.Hour

// identity is a certificate to issue.
type identity struct {
	file   string // under pki
	name   string // common name: the user, for a client
	groups []string
	hosts  []string // names and addresses, for a server
}

// users are the clients of the API server that get a kubeconfig. The names are
// those that its built-in roles are bound to.
func users() []identity {
	return []identity{
		{file: "admin", name: "kohort-cluster-admin", groups: []string{"system:masters"}},
		{file: "kube-controller-manager", name: "system:kube-controller-manager"},
		{file: "kube-scheduler", name: "system:kube-scheduler"},
		{file: "kube-proxy", name: "system:kube-proxy"},
		{file: "kubelet", name: "system:node:" + nodeName, groups: []string{"system:nodes"}},
		{file: "local-volumes", name: "kohort:local-volumes"},
	}
}

// makeIdentities makes every key, certificate and kubeconfig, unless all are
// there already.
func (l layout) makeIdentities(now time.Time) error {
	// The last file to be written stands for all of them.
	if _, err := os.Stat(l.kubeconfig()); err == nil {
		return nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("looking for the kubeconfig: %w", err)
	}

	cluster, err := l.newAuthority("ca", now)
	if err != nil {
		return err
	}
	servers := []identity{
		{file: "kube-apiserver", name: "kube-apiserver", hosts: []string{
			"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + clusterDomain,
			"127.0.0.1", nodeAddress, serviceRouter,
		}},
		{file: "kubelet-server", name: "system:node:" + nodeName, groups: []string{"system:nodes"}, hosts: []string{nodeName, nodeAddress}},
		{file: "apiserver-to-kubelet", name: "kohort:apiserver-to-kubelet", groups: []string{"system:masters"}},
	}
	for _, id := range append(servers, users()...) {
		if err := l.issue(cluster, id, now); err != nil {
			return err
		}
	}

	// etcd lets everyone in whom its authority knows, so that one is its own.
	etcd, err := l.newAuthority("etcd-ca", now)
	if err != nil {
		return err
	}
	for _, id := range []identity{
		{file: "etcd", name: "etcd", hosts: []string{"localhost", "127.0.0.1"}},
		{file: "apiserver-to-etcd", name: "kube-apiserver"},
	} {
		if err := l.issue(etcd, id, now); err != nil {
			return err
		}
	}

	// The API server vouches with this one for the users whose requests it
	// passes on to extension servers, as metrics-server is one.
	proxy, err := l.newAuthority("front-proxy-ca", now)
	if err != nil {
		return err
	}
	if err := l.issue(proxy, identity{file: "front-proxy", name: "front-proxy"}, now); err != nil {
		return err
	}

	serviceAccounts, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("making the key of service accounts: %w", err)
	}
	if err := l.writeKey("service-accounts", serviceAccounts); err != nil {
		return err
	}

	for _, user := range users() {
		if err := l.writeKubeconfig(l.kubeconfigOf(user.file), user.file); err != nil {
			return err
		}
	}
	return l.writeKubeconfig(l.kubeconfig(), "admin")
}

// authority signs certificates.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func (l layout) newAuthority(file string, now time.Time) (authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return authority{}, fmt.Errorf("making the key of %s: %w", file, err)
	}
	template, err := newTemplate(now)
	if err != nil {
		return authority{}, err
	}
	template.Subject = pkix.Name{CommonName: "kohort-cluster " + file}
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return authority{}, fmt.Errorf("signing %s: %w", file, err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return authority{}, fmt.Errorf("reading %s again: %w", file, err)
	}
	return authority{certificate: certificate, key: key}, errors.Join(l.writeCertificate(file, der), l.writeKey(file, key))
}

// issue signs the certificate of one identity. Each serves as a server's where
// it names hosts, and always as a client's: etcd's is both to its own peers.
func (l layout) issue(by authority, id identity, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("making the key of %s: %w", id.file, err)
	}
	template, err := newTemplate(now)
	if err != nil {
		return err
	}
	template.Subject = pkix.Name{CommonName: id.name, Organization: id.groups}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	for _, host := range id.hosts {
		if address := net.ParseIP(host); address != nil {
			template.IPAddresses = append(template.IPAddresses, address)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	if len(id.hosts) > 0 {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.certificate, key.Public(), by.key)
	if err != nil {
		return fmt.Errorf("signing the certificate of %s: %w", id.file, err)
	}
	return errors.Join(l.writeCertificate(id.file, der), l.writeKey(id.file, key))
}

func newTemplate(now time.Time) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("choosing a serial number: %w", err)
	}
	return &x509.Certificate{
		SerialNumber: serial,
		NotBefore:    now.Add(-time.Hour), // the machine's clock may be set back a little
		NotAfter:     now.Add(certificateLife),
	}, nil
}

func (l layout) writeCertificate(file string, der []byte) error {
	return writeFile(l.certificate(file), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func (l layout) writeKey(file string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return fmt.Errorf("encoding the key of %s: %w", file, err)
	}
	return writeFile(l.key(file), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
}

// writeKubeconfig writes a kubeconfig that needs no other file.
func (l layout) writeKubeconfig(file, user string) error {
	encoded := make(map[string]string, 3)
	for name, source := range map[string]string{"ca": l.certificate("ca"), "certificate": l.certificate(user), "key": l.key(user)} {
		data, err := os.ReadFile(source)
		if err != nil {
			return fmt.Errorf("writing the kubeconfig of %s: %w", user, err)
		}
		encoded[name] = base64.StdEncoding.EncodeToString(data)
	}
	// JSON is YAML too.
	data, err := json.MarshalIndent(map[string]any{
		"apiVersion": "v1",
		"kind":       "Config",
		"clusters": []any{map[string]any{"name": clusterName, "cluster": map[string]any{
			"server":                     fmt.Sprintf("https://127.0.0.1:%d", apiPort),
			"certificate-authority-data": encoded["ca"],
		}}},
		"users": []any{map[string]any{"name": user, "user": map[string]any{
			"client-certificate-data": encoded["certificate"],
			"client-key-data":         encoded["key"],
		}}},
		"contexts":        []any{map[string]any{"name": clusterName, "context": map[string]any{"cluster": clusterName, "user": user}}},
		"current-context": clusterName,
	}, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the kubeconfig of %s: %w", user, err)
	}
	return writeFile(file, data)
}

// writeFile writes a file that only its owner reads. One that is as it should
// be is left alone, for some processes end when their configuration is written.
func writeFile(file string, data []byte) error {
	if old, err := os.ReadFile(file); err == nil && bytes.Equal(old, data) {
		return nil
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	return nil
}
