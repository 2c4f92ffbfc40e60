package engine

import "kohort.dev/kohort/internal/ingest"

// Ingest moves the stream into the warehouse.
type Ingest = ingest.Ingest

// IngestConfig is what an Ingest works with.
type IngestConfig = ingest.Config

// NewIngest makes an Ingest that is not running yet.
func NewIngest(config IngestConfig) *Ingest { return ingest.New(config) }
