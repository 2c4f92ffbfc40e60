// Command local-volumes gives every PersistentVolumeClaim of the local
// cluster's default class a directory of this machine, and deletes the
// directory with the claim.
//
// It makes volumes of type local, for kubelet applies a pod's fsGroup to those
// but not to hostPath volumes. The size that a claim asks for is recorded and
// not enforced: the disk is shared.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

// provisionerName is what the StorageClass names to be served by this process.
const provisionerName = "kohort.dev/local-volumes"

func main() {
	kubeconfig := flag.String("kubeconfig", "", "kubeconfig of the cluster to serve")
	directory := flag.String("directory", "", "directory that holds one directory per volume")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, *kubeconfig, *directory); err != nil {
		fmt.Fprintln(os.Stderr, "local-volumes:", err)
		os.Exit(1)
	}
}

// run serves claims until ctx ends.
func run(ctx context.Context, kubeconfig, directory string) error {
	if !filepath.IsAbs(directory) {
		return fmt.Errorf("--directory is %q: give an absolute path", directory)
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("reading kubeconfig %s: %w", kubeconfig, err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("building a client from kubeconfig %s: %w", kubeconfig, err)
	}
	// One process serves the one node, so there is nothing to elect a leader
	// among, and its metrics interest nobody.
	controller.NewProvisionController(ctx, client, provisionerName, directories{root: directory},
		controller.LeaderElection(false),
		controller.MetricsPort(0),
	).Run(ctx)
	return nil
}

// directories provisions volumes as directories below root.
type directories struct {
	root string
}

// Provision makes the directory of a claim and describes it as a volume that
// is bound to the node that the scheduler chose.
func (d directories) Provision(_ context.Context, options controller.ProvisionOptions) (*corev1.PersistentVolume, controller.ProvisioningState, error) {
	path := filepath.Join(d.root, options.PVName)
	// Open to all as a mount point is: kubelet hands it to the pod's fsGroup,
	// and a pod without one must be able to write too. The root directory
	// keeps other users of the machine out.
	if err := os.MkdirAll(path, 0o777); err != nil {
		return nil, controller.ProvisioningFinished, fmt.Errorf("making the directory of volume %s: %w", options.PVName, err)
	}
	if err := os.Chmod(path, 0o777); err != nil {
		return nil, controller.ProvisioningFinished, fmt.Errorf("opening the directory of volume %s: %w", options.PVName, err)
	}
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: options.PVName},
		Spec: corev1.PersistentVolumeSpec{
			AccessModes:                   options.PVC.Spec.AccessModes,
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: options.PVC.Spec.Resources.Requests[corev1.ResourceStorage]},
			PersistentVolumeReclaimPolicy: *options.StorageClass.ReclaimPolicy,
			PersistentVolumeSource:        corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: path}},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{{
					MatchExpressions: []corev1.NodeSelectorRequirement{{
						Key:      corev1.LabelHostname,
						Operator: corev1.NodeSelectorOpIn,
						Values:   []string{options.SelectedNodeName},
					}},
				}},
			}},
		},
	}, controller.ProvisioningFinished, nil
}

// Delete removes the directory of a released volume with all that is in it.
func (d directories) Delete(_ context.Context, volume *corev1.PersistentVolume) error {
	// The name decides, not the path in the object, which anyone who may edit
	// volumes could have pointed elsewhere.
	if err := os.RemoveAll(filepath.Join(d.root, filepath.Base(volume.Name))); err != nil {
		return fmt.Errorf("removing the directory of volume %s: %w", volume.Name, err)
	}
	return nil
}
