// Package kubectl drives a cluster the way a person does, with kubectl, so that the demo and the end-to-end tests see what
// a person sees.
package kubectl

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Kubectl runs kubectl against one cluster and, unless told otherwise, one namespace.
type Kubectl struct {
	Program    string // path of kubectl
	Kubeconfig string // always given: never the user's current context unasked
	Namespace  string
}

// In is the same cluster in another namespace.
func (k Kubectl) In(namespace string) Kubectl {
	k.Namespace = namespace
	return k
}

// Error is a failed call.
type Error struct {
	Args   []string
	Stderr string
	Err    error
}

func (e *Error) Error() string {
	return fmt.Sprintf("kubectl %s: %v: %s", strings.Join(e.Args, " "), e.Err, strings.TrimSpace(e.Stderr))
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Run calls kubectl and returns its standard output.
func (k Kubectl) Run(ctx context.Context, args ...string) (string, error) {
	return k.RunWith(ctx, nil, args...)
}

// RunWith is Run with something to read from standard input.
func (k Kubectl) RunWith(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	command := k.command(ctx, args...)
	var stdout, stderr bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = stdin, &stdout, &stderr
	if err := command.Run(); err != nil {
		return stdout.String(), &Error{Args: args, Stderr: stderr.String(), Err: err}
	}
	return stdout.String(), nil
}

func (k Kubectl) command(ctx context.Context, args ...string) *exec.Cmd {
	flags := []string{"--kubeconfig", k.Kubeconfig}
	if k.Namespace != "" {
		flags = append(flags, "--namespace", k.Namespace)
	}
	command := exec.CommandContext(ctx, k.Program, append(flags, args...)...)
	// A person's KUBECTL_* and KUBECONFIG must not change what is done.
	command.Env = append(os.Environ(), "KUBECONFIG="+k.Kubeconfig)
	return command
}

// Get reads one object.
func (k Kubectl) Get(ctx context.Context, kind, name string, into any) error {
	out, err := k.Run(ctx, "get", kind, name, "-o", "json")
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		return fmt.Errorf("reading %s %s: %w", kind, name, err)
	}
	return nil
}

// List reads the objects of a kind, with a label selector or without; into is a list type.
func (k Kubectl) List(ctx context.Context, kind, selector string, into any) error {
	out, err := k.Run(ctx, "get", kind, "--selector", selector, "-o", "json")
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		return fmt.Errorf("reading the list of %s: %w", kind, err)
	}
	return nil
}

// Exists says whether an object is there.
func (k Kubectl) Exists(ctx context.Context, kind, name string) (bool, error) {
	out, err := k.Run(ctx, "get", kind, name, "--ignore-not-found", "-o", "name")
	return strings.TrimSpace(out) != "", err
}

// Apply applies manifests.
func (k Kubectl) Apply(ctx context.Context, manifests []byte) error {
	_, err := k.RunWith(ctx, bytes.NewReader(manifests), "apply", "--server-side", "--field-manager=demo", "--force-conflicts", "-f", "-")
	return err
}

// Wait waits for a condition, such as condition=Ready, of objects such as audience/vip.
func (k Kubectl) Wait(ctx context.Context, forWhat string, timeout time.Duration, objects ...string) error {
	args := append([]string{"wait", "--for", forWhat, "--timeout", timeout.String()}, objects...)
	_, err := k.Run(ctx, args...)
	return err
}

// RunNow asks for a run of a Source or Sync, or an evaluation of an Audience, under a name for the request.
func (k Kubectl) RunNow(ctx context.Context, object, request string) error {
	_, err := k.Run(ctx, "annotate", object, "--overwrite", "kohort.dev/requested-at="+request)
	return err
}

// Secret reads one key of a Secret.
func (k Kubectl) Secret(ctx context.Context, name, key string) (string, error) {
	var secret struct {
		Data map[string][]byte `json:"data"`
	}
	if err := k.Get(ctx, "secret", name, &secret); err != nil {
		return "", err
	}
	value, there := secret.Data[key]
	if !there {
		return "", fmt.Errorf("secret %s has no key %s", name, key)
	}
	return string(value), nil
}

// Fetch gets a path of a Service, such as receiver:80, through the API server.
func (k Kubectl) Fetch(ctx context.Context, service, path string) (string, error) {
	return k.Run(ctx, "get", "--raw", k.proxy(service, path))
}

// Post sends a body to a path of a Service through the API server.
func (k Kubectl) Post(ctx context.Context, service, path string, body io.Reader) (string, error) {
	return k.RunWith(ctx, body, "create", "--raw", k.proxy(service, path), "-f", "-")
}

func (k Kubectl) proxy(service, path string) string {
	return fmt.Sprintf("/api/v1/namespaces/%s/services/%s/proxy%s", k.Namespace, service, path)
}
