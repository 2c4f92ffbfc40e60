package main

import (
	"context"
	"encoding/json"
	"time"

	"kohort.dev/kohort/test/demo/manifests"
)

// pods is what is read of a list of pods.
type pods struct {
	Items []struct {
		Metadata struct {
			Name string `json:"name"`
		} `json:"metadata"`
		Status struct {
			Phase      string `json:"phase"`
			Conditions []struct {
				Type   string `json:"type"`
				Status string `json:"status"`
			} `json:"conditions"`
		} `json:"status"`
	} `json:"items"`
}

// diagnose prints what a person would look at first when something went wrong.
func (d *demo) diagnose(ctx context.Context) {
	if d.kubectl.Kubeconfig == "" || ctx.Err() != nil {
		return // there is no cluster to ask, or the person wants the demo to end
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	d.progress.title("What the cluster says")
	for _, namespace := range []string{operatorNamespace, manifests.Namespace} {
		d.ask(ctx, namespace, "get", "pods", "-o", "wide")
	}
	for _, kind := range []string{"platforms", "sources", "audiences", "destinations", "syncs", "retentionpolicies"} {
		d.ask(ctx, manifests.Namespace, "get", kind, "-o", "wide")
	}
	d.ask(ctx, manifests.Namespace, "get", "events", "--field-selector", "type=Warning", "--sort-by", "lastTimestamp")
	for _, namespace := range []string{operatorNamespace, manifests.Namespace} {
		for _, name := range d.troubled(ctx, namespace) {
			d.ask(ctx, namespace, "describe", "pod", name)
			d.ask(ctx, namespace, "logs", name, "--all-containers", "--tail=20")
		}
	}
	d.ask(ctx, operatorNamespace, "logs", "deployment/kohort-operator", "--tail=20")
	d.ask(ctx, manifests.Namespace, "logs", "deployment/shop-engine", "--tail=20")
}

// ask prints a kubectl command and its answer, whatever it is.
func (d *demo) ask(ctx context.Context, namespace string, args ...string) {
	out, err := d.kubectl.In(namespace).Run(ctx, args...)
	if err != nil {
		d.progress.print("%v", err)
		return
	}
	d.progress.print("$ kubectl --namespace %s %v\n%s", namespace, args, out)
}

// troubled lists the pods that neither are ready nor have ended well.
func (d *demo) troubled(ctx context.Context, namespace string) []string {
	out, err := d.kubectl.In(namespace).Run(ctx, "get", "pods", "-o", "json")
	if err != nil {
		d.progress.print("%v", err)
		return nil
	}
	var all pods
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		d.progress.print("reading the pods: %v", err)
		return nil
	}
	var names []string
	for _, pod := range all.Items {
		ready := pod.Status.Phase == "Succeeded"
		for _, c := range pod.Status.Conditions {
			ready = ready || c.Type == "Ready" && c.Status == "True"
		}
		if !ready {
			names = append(names, pod.Metadata.Name)
		}
	}
	return names
}
