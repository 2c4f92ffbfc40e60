package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"time"
)

// apiClient reads from the API server as its administrator. It is only what
// waiting for the cluster needs: starting kubectl for each look would take a
// good part of the processor from what is waited for.
type apiClient struct {
	http *http.Client
}

// newAPIClient returns a client with the administrator's certificate.
func (l layout) newAPIClient() (*apiClient, error) {
	certificate, err := tls.LoadX509KeyPair(l.certificate("admin"), l.key("admin"))
	if err != nil {
		return nil, fmt.Errorf("reading the administrator's certificate: %w", err)
	}
	authority, err := os.ReadFile(l.certificate("ca"))
	if err != nil {
		return nil, fmt.Errorf("reading the cluster's authority: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		return nil, fmt.Errorf("reading the cluster's authority: %s holds no certificate", l.certificate("ca"))
	}
	return &apiClient{http: &http.Client{
		Timeout: 5 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{
			MinVersion:   tls.VersionTLS13,
			RootCAs:      roots,
			Certificates: []tls.Certificate{certificate},
		}},
	}}, nil
}

// maxAnswerBytes bounds what is read of an answer.
const maxAnswerBytes = 4 << 20

func (a *apiClient) get(ctx context.Context, path string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://127.0.0.1:"+strconv.Itoa(apiPort)+path, nil)
	if err != nil {
		return err
	}
	response, err := a.http.Do(request)
	if err != nil {
		return fmt.Errorf("asking the API server: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	if err != nil {
		return fmt.Errorf("reading %s of the API server: %w", path, err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the API server answers %s to %s: %s", response.Status, path, lastLines(string(body), 5))
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("reading %s of the API server: %w", path, err)
	}
	return nil
}

// isReady is nil when the API server says that it serves.
func (a *apiClient) isReady(ctx context.Context) error { return a.get(ctx, "/readyz", nil) }

// nodeIsReady is nil when kubelet has said, since then, that the node takes
// pods. What it said earlier may be of a kubelet that is dead.
func (a *apiClient) nodeIsReady(ctx context.Context, since time.Time) error {
	var node struct {
		Status struct {
			Conditions []struct {
				Type, Status, Message string
				LastHeartbeatTime     time.Time // in whole seconds
			}
		}
	}
	if err := a.get(ctx, "/api/v1/nodes/"+nodeName, &node); err != nil {
		return err
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type != "Ready" || condition.LastHeartbeatTime.Before(since.Truncate(time.Second)) {
			continue
		}
		if condition.Status == "True" {
			return nil
		}
		return errors.New("the node is not ready: " + condition.Message)
	}
	return errors.New("the node has not reported yet")
}

// dnsAnswers is nil when the cluster's DNS server answers under its Service's
// address: then kube-proxy, the pods' network and the server work together.
func dnsAnswers(ctx context.Context) error {
	resolver := net.Resolver{
		PreferGo: true,
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort(dnsAddress, "53"))
		},
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	addresses, err := resolver.LookupHost(ctx, "kubernetes.default.svc."+clusterDomain+".")
	if err != nil {
		return fmt.Errorf("asking the DNS server in the cluster (kubectl -n kube-system describe pods tells how it is): %w", err)
	}
	if !slices.Contains(addresses, serviceRouter) {
		return fmt.Errorf("the DNS server in the cluster says that the API server is at %s, want %s", addresses, serviceRouter)
	}
	return nil
}
