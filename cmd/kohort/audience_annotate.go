package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"kohort.dev/kohort/api/v1alpha1"
)

// objects gives a client for Kohort's own kinds, and the namespace to work in.
func (c *cluster) objects() (client.Client, string, error) {
	conn, err := c.connect()
	if err != nil {
		return nil, "", err
	}
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, "", fmt.Errorf("registering kinds: %w", err)
	}
	objects, err := client.New(conn.config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, "", fmt.Errorf("connecting to the cluster: %w", err)
	}
	return objects, conn.namespace, nil
}

func newAudienceRollback(c *cluster) *cobra.Command {
	var to int64
	var undo bool
	command := &cobra.Command{
		Use:   "rollback AUDIENCE",
		Short: "Bring back the members of an earlier revision, or go on with the rule",
		Long: `Bring back the members of an earlier revision, or go on with the rule.

The rule is not evaluated until --undo. It sets, and takes away, the annotation ` + v1alpha1.RollbackAnnotation + `.`,
		Example: `  kohort audience rollback vip --to 7 -n crm
  kohort audience rollback vip --undo -n crm`,
		Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			if undo == (to > 0) {
				return hint(errors.New("either --to or --undo is needed"), "status.revision of the Audience is its newest revision; those of the last 30 days can be brought back")
			}
			objects, namespace, err := c.objects()
			if err != nil {
				return err
			}
			return rollback(command.Context(), command.OutOrStdout(), objects, namespace, args[0], to)
		},
	}
	command.Flags().Int64Var(&to, "to", 0, "revision whose members are brought back")
	command.Flags().BoolVar(&undo, "undo", false, "go on with the rule")
	return command
}

// rollback asks for a revision, or, when it is 0, for the rule.
func rollback(ctx context.Context, out io.Writer, objects client.Client, namespace, name string, to int64) error {
	a, err := audienceNamed(ctx, objects, namespace, name)
	if err != nil {
		return err
	}
	if newest := a.Status.Revision; to > 0 && newest != nil && to >= *newest {
		return hint(fmt.Errorf("revision %d is not earlier than the newest, %d", to, *newest), "the members are those of the newest revision")
	}
	if _, is := a.Annotations[v1alpha1.RollbackAnnotation]; to == 0 && !is {
		_, err := fmt.Fprintf(out, "Audience %s goes by its rule already\n", name)
		return err
	}
	value := ""
	if to > 0 {
		value = strconv.FormatInt(to, 10)
	}
	if err := annotate(ctx, objects, a, v1alpha1.RollbackAnnotation, value); err != nil {
		return err
	}
	said := "Audience %s goes by its rule again\n"
	if to > 0 {
		said = "Audience %s gets the members of revision " + value + " back, and keeps them until: kohort audience rollback " + name + " --undo\n"
	}
	_, err = fmt.Fprintf(out, said, name)
	return err
}

func newAudienceApprove(c *cluster) *cobra.Command {
	return &cobra.Command{
		Use:   "approve AUDIENCE",
		Short: "Let the change through that the guard of an audience keeps back",
		Long: `Let the change through that the guard of an audience keeps back: exactly those customers, and no later change.

It sets the annotation ` + v1alpha1.ApproveAnnotation + ` to status.held.token.`,
		Example: `  kohort audience approve vip -n crm`,
		Args:    cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			objects, namespace, err := c.objects()
			if err != nil {
				return err
			}
			return approve(command.Context(), command.OutOrStdout(), objects, namespace, args[0])
		},
	}
}

func approve(ctx context.Context, out io.Writer, objects client.Client, namespace, name string) error {
	a, err := audienceNamed(ctx, objects, namespace, name)
	if err != nil {
		return err
	}
	held := a.Status.Held
	if held == nil {
		_, err := fmt.Fprintf(out, "No change of Audience %s is kept back\n", name)
		return err
	}
	if err := annotate(ctx, objects, a, v1alpha1.ApproveAnnotation, held.Token); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "Audience %s: %d customers enter and %d leave, as computed at %s\n", name, held.Entering, held.Leaving, stamp(held.Since.Time))
	return err
}

func audienceNamed(ctx context.Context, objects client.Client, namespace, name string) (*v1alpha1.Audience, error) {
	a := &v1alpha1.Audience{}
	err := objects.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, a)
	if apierrors.IsNotFound(err) {
		return nil, hint(fmt.Errorf("there is no Audience %s in namespace %s", name, namespace), "kubectl get audiences -A lists them")
	}
	if err != nil {
		return nil, fmt.Errorf("reading Audience %s: %w", name, err)
	}
	return a, nil
}

// annotate sets an annotation, or takes it away when the value is empty. An object that has changed since it was read is
// refused, for what a person decided was about what they saw.
func annotate(ctx context.Context, objects client.Client, a *v1alpha1.Audience, key, value string) error {
	before := a.DeepCopy()
	if value == "" {
		delete(a.Annotations, key)
	} else {
		if a.Annotations == nil {
			a.Annotations = map[string]string{}
		}
		a.Annotations[key] = value
	}
	err := objects.Patch(ctx, a, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	if apierrors.IsConflict(err) {
		return hint(fmt.Errorf("Audience %s has changed meanwhile", a.Name), "look at it again: kubectl describe audience %s", a.Name) //nolint:staticcheck // the kind's name
	}
	if err != nil {
		return fmt.Errorf("annotating Audience %s: %w", a.Name, err)
	}
	return nil
}
