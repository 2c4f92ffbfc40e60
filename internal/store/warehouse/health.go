package warehouse

import (
	"fmt"
	"time"

	"kohort.dev/kohort/internal/store/chdb"
	"kohort.dev/kohort/internal/store/disk"
	"kohort.dev/kohort/internal/store/readiness"
)

const (
	healthEvery  = time.Second
	healthWithin = 4 * time.Second // below the 5 s that a kubelet's probe may wait
)

// healthDDL is the table that the readiness probe writes to. Its rows vanish
// by themselves, and so do the parts that merges leave behind.
var healthDDL = [...]string{
	"CREATE DATABASE IF NOT EXISTS kohort_store",
	"CREATE TABLE IF NOT EXISTS kohort_store.health (at DateTime64(3, 'UTC')) ENGINE = MergeTree ORDER BY at " +
		"TTL toDateTime(at) + INTERVAL 10 MINUTE SETTINGS old_parts_lifetime = 30, fsync_after_insert = 1, fsync_part_directory = 1",
}

// health knows whether the warehouse can take data.
type health struct {
	engine *chdb.Engine
	path   string
	floor  uint64
	check  *readiness.Check
}

func newHealth(engine *chdb.Engine, path string, floor uint64) (*health, error) {
	h := &health{engine: engine, path: path, floor: floor}
	h.check = readiness.New(h.write, healthEvery, healthWithin, time.Now)
	conn, err := engine.Connect()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	for _, sql := range healthDDL {
		if err := conn.Exec(sql); err != nil {
			return nil, fmt.Errorf("making the table of the readiness probe: %w", err)
		}
	}
	return h, nil
}

// room says whether the disk can take more rows.
func (h *health) room() error { return disk.Check(h.path, h.floor) }

// write stores one row durably.
func (h *health) write() error {
	if err := h.room(); err != nil {
		return err
	}
	conn, err := h.engine.Connect()
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Exec("INSERT INTO kohort_store.health VALUES (now64(3))")
}
