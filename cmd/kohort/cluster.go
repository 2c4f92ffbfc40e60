package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"

	"kohort.dev/kohort/api/v1alpha1"
)

// cluster is the one that kubectl would talk to.
type cluster struct {
	kubeconfig, context, namespace string
}

func (c *cluster) bind(flags *pflag.FlagSet) {
	flags.StringVar(&c.kubeconfig, "kubeconfig", "", "kubeconfig file; default $KUBECONFIG or ~/.kube/config")
	flags.StringVar(&c.context, "context", "", "context of the kubeconfig; default its current one")
	flags.StringVarP(&c.namespace, "namespace", "n", "", "namespace; default that of the context")
}

// connection to a cluster, and the namespace to work in.
type connection struct {
	config    *rest.Config
	client    kubernetes.Interface
	namespace string
}

func (c *cluster) connect() (*connection, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = c.kubeconfig
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: c.context})
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, hint(fmt.Errorf("reading the kubeconfig: %w", err), "name a file with --kubeconfig, or a context with --context; kubectl config get-contexts lists them")
	}
	config.Timeout = 30 * time.Second
	namespace := c.namespace
	if namespace == "" {
		if namespace, _, err = loader.Namespace(); err != nil {
			return nil, fmt.Errorf("reading the kubeconfig: %w", err)
		}
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connecting to the cluster: %w", err)
	}
	return &connection{config: config, client: client, namespace: namespace}, nil
}

// token of a Platform's API.
func (c *connection) token(ctx context.Context, platform string) (string, error) {
	name := platform + "-api"
	secret, err := c.client.CoreV1().Secrets(c.namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return "", hint(fmt.Errorf("there is no Secret %s in namespace %s", name, c.namespace),
			"is %q the Platform's name, and this its namespace? kubectl get platforms -A", platform)
	case apierrors.IsForbidden(err):
		return "", hint(fmt.Errorf("reading the API token: %w", err), "profiles are personal data; ask for get on Secret %s in namespace %s", name, c.namespace)
	case err != nil:
		return "", fmt.Errorf("reading the API token: %w", err)
	case len(secret.Data["token"]) == 0:
		return "", fmt.Errorf("key token is missing in Secret %s", name)
	}
	return string(secret.Data["token"]), nil
}

// enginePod is a pod of the Platform's engine that serves.
func (c *connection) enginePod(ctx context.Context, platform string) (string, error) {
	selector := v1alpha1.PlatformLabel + "=" + platform + "," + v1alpha1.ComponentLabel + "=engine"
	pods, err := c.client.CoreV1().Pods(c.namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return "", fmt.Errorf("looking for the engine's pod: %w", err)
	}
	if len(pods.Items) == 0 {
		return "", hint(fmt.Errorf("no pod of the engine of Platform %s is in namespace %s", platform, c.namespace),
			"kubectl -n %s get platform %s tells whether it is suspended or not ready", c.namespace, platform)
	}
	for _, pod := range pods.Items {
		if isReady(pod) {
			return pod.Name, nil
		}
	}
	return "", hint(fmt.Errorf("the engine of Platform %s is not ready (pod %s is %s)", platform, pods.Items[0].Name, pods.Items[0].Status.Phase),
		"kubectl -n %s describe pod %s; its readiness probe says what it waits for", c.namespace, pods.Items[0].Name)
}

func isReady(pod corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue && pod.DeletionTimestamp == nil
		}
	}
	return false
}

// forward opens a port of this machine that leads to a port of a pod until ctx ends.
func (c *connection) forward(ctx context.Context, pod string, port int) (local int, err error) {
	url := c.client.CoreV1().RESTClient().Post().Resource("pods").Namespace(c.namespace).Name(pod).SubResource("portforward").URL()
	config := rest.CopyConfig(c.config)
	config.Timeout = 0 // a forwarded connection lasts as long as its user wants
	transport, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		return 0, fmt.Errorf("forwarding a port: %w", err)
	}
	// As kubectl does: over a websocket, and over SPDY where the API server is too old for that.
	fallback := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, http.MethodPost, url)
	tunnel, err := portforward.NewSPDYOverWebsocketDialerForStreaming(url, config)
	if err != nil {
		return 0, fmt.Errorf("forwarding a port: %w", err)
	}
	dialer := portforward.NewFallbackDialerForStreaming(tunnel, fallback, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	ready := make(chan struct{})
	forwarder, err := portforward.NewOnAddressesForStreamingWithContext(ctx, dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("0:%d", port)}, ready, io.Discard, io.Discard)
	if err != nil {
		return 0, fmt.Errorf("forwarding a port: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- forwarder.ForwardPorts() }() // ends with ctx
	select {
	case <-ready:
	case err := <-ended:
		if err == nil {
			err = errors.New("it ended at once")
		}
		return 0, hint(fmt.Errorf("forwarding a port to pod %s: %w", pod, err), "you need create on pods/portforward in namespace %s", c.namespace)
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	ports, err := forwarder.GetPorts()
	if err != nil {
		return 0, fmt.Errorf("forwarding a port: %w", err)
	}
	return int(ports[0].Local), nil
}
