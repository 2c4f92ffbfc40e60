package destination

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"strings"
	"time"

	"kohort.dev/kohort/internal/run"
)

// FilesConfig tells what a Files writes, and where.
type FilesConfig struct {
	run.FileTarget
	// KeyIDFile and SecretFile are the files of a login to S3.
	KeyIDFile, SecretFile string
	Audience              string
	Slot                  time.Time // of the run
	Now                   func() time.Time
}

// Files writes each batch as a file of its own, which is whole as soon as it is there; docs/destinations/files.md describes
// them.
type Files struct {
	config FilesConfig
	folder folder
	format fileFormat
	trace  *trace // that is shown files, if there is one
}

// folder is where files are put.
type folder interface {
	// put makes a file, or replaces it. Whoever reads sees the whole file or none.
	put(ctx context.Context, name string, content []byte, contentType string) error
	close()
}

// The limits of a folder's URL.
const (
	s3Scheme   = "s3://"
	fileScheme = "file:///"
)

// NewFiles makes a Files. It fails when the spec cannot be used.
func NewFiles(config FilesConfig) (*Files, error) {
	format, ok := fileFormats[config.Format]
	if !ok {
		return nil, run.Refuse(ReasonInvalidSpec, "spec.files.format %q of the Destination is not known; use CSV, JSONL or Parquet", config.Format)
	}
	f := &Files{config: config, format: format}
	switch {
	case strings.HasPrefix(config.URL, s3Scheme):
		bucket, prefix, _ := strings.Cut(strings.TrimPrefix(config.URL, s3Scheme), "/")
		if prefix = strings.Trim(prefix, "/"); bucket == "" || prefix == "" || config.S3 == nil {
			return nil, run.Refuse(ReasonInvalidSpec, "spec.files.url of the Destination must be of the form s3://bucket/folder, with spec.files.s3")
		}
		f.folder = &s3Folder{config: config, bucket: bucket, prefix: prefix}
	case strings.HasPrefix(config.URL, fileScheme):
		name := strings.Trim(strings.TrimPrefix(config.URL, fileScheme), "/")
		if name == "" || config.Root == "" || path.Clean(name) != name || strings.HasPrefix(name, "..") {
			return nil, run.Refuse(ReasonInvalidSpec, "spec.files.url of the Destination must name a folder inside the claim, without .. and empty parts")
		}
		f.folder = &localFolder{root: config.Root, name: name}
	default:
		return nil, run.Refuse(ReasonInvalidSpec, "spec.files.url of the Destination must begin with s3:// or file:///")
	}
	return f, nil
}

// observe lets a rehearsal see files.
func (f *Files) observe(t *trace) { f.trace = t }

// Holder is the folder and the format: who reads another format has none of what was written before.
func (f *Files) Holder() string { return f.config.URL + "#" + f.config.Format }

// Close frees connections.
func (f *Files) Close() error {
	f.folder.close()
	return nil
}

// fileRecord is one operation as it stands in a file.
type fileRecord struct {
	Op       Op     `json:"op"`
	Audience string `json:"audience"`
	ID       string `json:"id"`
	// Version grows with every change of an id: of several records of one id that with the greatest counts.
	Version uint64 `json:"version"`
	// Entry is Operation.Entry.
	Entry       uint64          `json:"entry"`
	Identifiers json.RawMessage `json:"identifiers"`
	Traits      json.RawMessage `json:"traits"`
}

func (f *Files) records(operations []Operation) []fileRecord {
	out := make([]fileRecord, len(operations))
	for i, o := range operations {
		out[i] = fileRecord{
			Op: o.Op, Audience: f.config.Audience, ID: o.ID, Version: o.Version, Entry: o.Entry,
			Identifiers: json.RawMessage(object(o.Identifiers)), Traits: json.RawMessage(object(o.Traits)),
		}
	}
	return out
}

// runStamp names a run's folder; as texts stamps have the order of time.
const runStamp = "20060102T150405Z"

// name of a batch's file: the same whenever the same operations are tried again.
func (f *Files) name(key string) string {
	return path.Join(f.config.Audience, f.config.Slot.UTC().Format(runStamp), path.Base(key)+f.format.suffix)
}

// Deliver writes a batch as a file; see Destination.
func (f *Files) Deliver(ctx context.Context, batch Batch) ([]Result, error) {
	records := f.records(batch.Operations)
	content, err := f.format.encode(records)
	if err != nil {
		return nil, fmt.Errorf("encoding a file: %w", err)
	}
	name := f.name(batch.Key)
	if f.trace != nil {
		body, err := json.Marshal(records)
		if err != nil {
			return nil, fmt.Errorf("encoding a file: %w", err)
		}
		if err := f.trace.say(Exchange{To: "WRITE " + strings.TrimRight(f.config.URL, "/") + "/" + name, Body: f.trace.mask.json(body)}); err != nil {
			return nil, err
		}
	}
	if err := f.folder.put(ctx, name, content, f.format.contentType); err != nil {
		return nil, err
	}
	return make([]Result, len(batch.Operations)), nil
}

// completionFile is the name of what Complete writes, in the folder of the audience.
const completionFile = "_complete.json"

// fileCompletion is what stands in it.
type fileCompletion struct {
	Audience string `json:"audience"`
	Run      string `json:"run"`
	Revision int64  `json:"revision"`
	Members  int64  `json:"members"`
	Written  string `json:"written"` // RFC 3339
}

// Complete says up to which run every change is there.
func (f *Files) Complete(ctx context.Context, c Completion) error {
	content, err := json.Marshal(fileCompletion{
		Audience: f.config.Audience, Run: f.config.Slot.UTC().Format(runStamp), Revision: c.Revision, Members: c.Members,
		Written: f.config.Now().UTC().Format(time.RFC3339),
	})
	if err != nil {
		return fmt.Errorf("encoding %s: %w", completionFile, err)
	}
	return f.folder.put(ctx, path.Join(f.config.Audience, completionFile), append(content, '\n'), "application/json")
}
