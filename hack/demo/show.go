package main

import (
	"context"
	"strings"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/test/demo/check"
	"kohort.dev/kohort/test/demo/population"
	"kohort.dev/kohort/test/demo/truth"
	"kohort.dev/kohort/test/demo/world"
)

// showKinds prints what kubectl get says of every kind.
func (d *demo) showKinds(ctx context.Context, w world.World, _ *population.Population, _ string) error {
	d.progress.title("What kubectl shows")
	for _, kind := range []string{"platforms", "sources", "audiences", "destinations", "syncs", "retentionpolicies"} {
		out, err := w.Kubectl.Run(ctx, "get", kind)
		if err != nil {
			return err
		}
		d.progress.print("$ kubectl get %s --namespace %s\n%s", kind, w.Place.Namespace, out)
	}
	return nil
}

// showProfile prints one customer who was met at all four touchpoints.
func (d *demo) showProfile(ctx context.Context, w world.World, p *population.Population, kohort string) error {
	known := truth.Of(p, p.Config.Clock).Showcase
	d.progress.title("One customer, met at four touchpoints")
	d.progress.print("The generator knows of %d events on the website, %d in the app, %d row in the CRM and %d tickets at the support\ndesk, under %d e-mail addresses, %d devices and one account:\n",
		known.Events[population.Web], known.Events[population.App], known.Events[population.CRM], known.Events[population.Support],
		len(known.Identifiers["email"]), len(known.Identifiers["anonymousId"]))
	out, err := d.output(ctx, kohort, "profile", "get", "userId:"+known.UserID, "--platform", "shop", "--namespace", w.Place.Namespace,
		"--kubeconfig", w.Kubectl.Kubeconfig)
	if err != nil {
		return err
	}
	d.progress.print("$ kohort profile get userId:%s --platform shop --namespace %s\n%s", known.UserID, w.Place.Namespace, out)
	return nil
}

// showSecondRun runs a sync once more, which has nothing to send.
func (d *demo) showSecondRun(ctx context.Context, w world.World, _ *population.Population, _ string) error {
	d.progress.title("A second run sends nothing")
	before, err := check.Mailer(ctx, w.Kubectl, truth.VIP)
	if err != nil {
		return err
	}
	if err := w.Deliver(ctx, "vip-mailer"); err != nil {
		return err
	}
	after, err := check.Mailer(ctx, w.Kubectl, truth.VIP)
	if err != nil {
		return err
	}
	var sync v1alpha1.Sync
	if err := w.Kubectl.Get(ctx, "sync", "vip-mailer", &sync); err != nil {
		return err
	}
	run := sync.Status.LastRun
	d.progress.print("$ kubectl annotate sync vip-mailer --namespace %s --overwrite kohort.dev/requested-at=\"$(date +%%s)\"", w.Place.Namespace)
	d.progress.print("run %s: %d added, %d updated, %d removed; the mailer has seen %d requests before and %d after, and holds %d members",
		run.Name, run.Added, run.Updated, run.Removed, before.Requests, after.Requests, after.Count)
	return nil
}

// showWays says how to go on.
func (d *demo) showWays(kohort string) {
	d.progress.title("How to look further, and how to clean up")
	d.progress.print("%s", strings.TrimSpace(`
export KUBECONFIG=`+d.kubectl.Kubeconfig+`
alias kubectl=`+d.kubectl.Program+` kohort=`+kohort+`

kubectl describe audience vip --namespace shop           # conditions and events say how it is doing
kubectl get syncs --namespace shop -o wide --watch
kubectl get --raw /api/v1/namespaces/shop/services/mailer:80/proxy/audiences   # what the mail tool holds
kubectl edit audience vip --namespace shop               # min: 3 to min: 5, and watch the mail tool follow
kubectl delete audience winback --namespace shop         # takes its members out of the mail tool first
kubectl logs deployment/shop-engine --namespace shop

docs/demo.md explains what happened; test/demo/manifests has the YAML.
make demo-down takes everything away.`))
}
