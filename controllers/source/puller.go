package source

import (
	"fmt"
	"time"

	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	batchv1ac "k8s.io/client-go/applyconfigurations/batch/v1"

	"github.com/prometheus/common/model"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/internal/naming"
	"kohort.dev/kohort/controllers/internal/runs"
	"kohort.dev/kohort/controllers/internal/workload"
	"kohort.dev/kohort/controllers/platform"
	"kohort.dev/kohort/internal/run"
)

// Order is what a run of a files or sql Source is asked to do, but for its slot.
func Order(s *v1alpha1.Source) run.PullOrder {
	order := run.PullOrder{Platform: s.Spec.PlatformRef.Name, Source: s.Name, Party: string(s.GetParty()), Mapping: s.Spec.Mapping}
	if f := s.Spec.Files; f != nil {
		order.Files = &run.Files{URL: f.URL, Format: string(f.Format)}
		if f.ClaimRef != nil {
			order.Files.Root = workload.DataDirectory
		}
		if f.S3 != nil {
			order.Files.S3 = &run.S3{Endpoint: f.S3.Endpoint, Region: f.S3.Region, PathStyle: f.S3.PathStyle, Keys: f.S3.AccessKeyIDSecretRef != nil}
		}
	}
	if q := s.Spec.SQL; q != nil {
		order.SQL = &run.SQL{Driver: q.Driver, Query: q.Query, CursorColumn: q.CursorColumn}
	}
	return order
}

// Wish is what decides when the next run is due. A Source without a schedule runs once for each thing that it is asked;
// one with a schedule waits for its slot, unless the newest run failed and the spec was repaired since.
func Wish(s *v1alpha1.Source) (runs.Wish, error) {
	order, err := runs.Fingerprint(Order(s))
	if err != nil {
		return runs.Wish{}, err
	}
	parsed, err := Schedule(s)
	if err != nil {
		return runs.Wish{}, err
	}
	wish := runs.Wish{
		Owner: s.Name, Anchor: s.CreationTimestamp.Time, Schedule: parsed,
		Request: runs.Requested(s.Annotations), Handled: s.Status.LastHandledRequest,
		Order: order, Version: fmt.Sprint(s.Generation),
		OnChange: parsed == nil, OnRepair: true, Intervals: true, CatchUp: s.Spec.CatchUp == v1alpha1.CatchUpAll,
	}
	if text := s.Spec.StartingDeadline; text != "" {
		deadline, err := model.ParseDuration(string(text))
		if err != nil {
			return runs.Wish{}, fmt.Errorf("spec.startingDeadline: %w", err)
		}
		wish.Deadline = time.Duration(deadline)
	}
	return wish, checkPlaceholders(s)
}

// checkPlaceholders refuses a text that asks for the time that a run covers, and that will not get it.
func checkPlaceholders(s *v1alpha1.Source) error {
	field, text := "spec.files.url", ""
	if s.Spec.Files != nil {
		text = s.Spec.Files.URL
	} else if s.Spec.SQL != nil {
		field, text = "spec.sql.query", s.Spec.SQL.Query
	}
	if err := run.CheckPlaceholders(text); err != nil {
		return fmt.Errorf("%s: %w", field, err)
	}
	if s.Spec.Schedule == "" && run.HasPlaceholder(text) {
		return fmt.Errorf("%s has a place for the time that a run covers, which only runs of a schedule have; set spec.schedule", field)
	}
	return nil
}

// Pull is the Job of one run.
func Pull(s *v1alpha1.Source, start runs.Start, fingerprint string, images workload.Images) (*batchv1ac.JobApplyConfiguration, error) {
	order := Order(s)
	order.Slot = start.Slot.UTC().Truncate(time.Second)
	order.Again = start.Request != ""
	if !start.From.IsZero() {
		order.Interval = &run.Interval{From: start.From.UTC(), To: order.Slot, Zone: s.Spec.TimeZone}
	}
	env, err := workload.Order(order)
	if err != nil {
		return nil, fmt.Errorf("building the run %s: %w", start.Name, err)
	}
	platformName := s.Spec.PlatformRef.Name
	args := []string{
		"--stream-url", platform.StreamURL(platformName, s.Namespace), "--stream-credentials-dir", workload.StreamCredentials,
		"--warehouse-url", platform.WarehouseURL(platformName, s.Namespace), "--warehouse-credentials-dir", workload.WarehouseCredentials,
	}
	volumes := []*corev1ac.VolumeApplyConfiguration{
		workload.SecretVolume("stream", naming.Stream(platformName), ""),
		workload.SecretVolume("warehouse", naming.Warehouse(platformName), ""),
	}
	mounts := []workload.Mount{
		{Volume: "stream", Path: workload.StreamCredentials, ReadOnly: true},
		{Volume: "warehouse", Path: workload.WarehouseCredentials, ReadOnly: true},
	}
	if q := s.Spec.SQL; q != nil {
		args = append(args, "--dsn-file", workload.DSNDirectory+"/"+q.DSNSecretRef.Key)
		volumes = append(volumes, workload.SecretVolume("dsn", q.DSNSecretRef.Name, q.DSNSecretRef.Key))
		mounts = append(mounts, workload.Mount{Volume: "dsn", Path: workload.DSNDirectory, ReadOnly: true})
	}
	if f := s.Spec.Files; f != nil && f.ClaimRef != nil {
		volumes = append(volumes, corev1ac.Volume().WithName("data").
			WithPersistentVolumeClaim(corev1ac.PersistentVolumeClaimVolumeSource().WithClaimName(f.ClaimRef.Name)))
		mounts = append(mounts, workload.Mount{Volume: "data", Path: workload.DataDirectory, ReadOnly: true})
	}
	if f := s.Spec.Files; f != nil && f.S3 != nil && f.S3.AccessKeyIDSecretRef != nil {
		for i, c := range Credentials(s) {
			name, directory := fmt.Sprintf("secret-%d", i), fmt.Sprintf("%s-%d", workload.SecretDirectory, i)
			args = append(args, []string{"--s3-key-id-file", "--s3-secret-file"}[i], directory+"/"+c.Ref.Key)
			volumes = append(volumes, workload.SecretVolume(name, c.Ref.Name, c.Ref.Key))
			mounts = append(mounts, workload.Mount{Volume: name, Path: directory, ReadOnly: true})
		}
	}
	return workload.Job{
		Name: start.Name, Namespace: s.Namespace,
		Labels: workload.RunLabels(platformName, naming.ComponentPuller, s.Name, v1alpha1.SourceLabel),
		Slot:   start.Slot, From: start.From, Order: fingerprint, Generation: s.Generation, Request: start.Request,
		Volumes: volumes,
		Container: workload.Container{
			Name: "pull", Image: images.Connector,
			Command: []string{workload.ConnectorBinary, "pull"}, Args: args,
			Env:       []*corev1ac.EnvVarApplyConfiguration{env},
			Resources: workload.Resources("50m", "128Mi", "1Gi"), GoMemory: true,
			Mounts: mounts,
		},
	}.Build(), nil
}
