package soak

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	storejetstream "kohort.dev/kohort/internal/store/jetstream"
	"kohort.dev/kohort/internal/store/storetest"
	storewarehouse "kohort.dev/kohort/internal/store/warehouse"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

// volume mounts a file system in memory of so many bytes, for as long as the test runs.
func volume(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size)
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		t.Skip("mounting a small disk needs root; run as root to see what a full one does")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill leaves so many bytes of a volume free; what it gives makes room again.
func fill(t *testing.T, dir string, left int64) (empty func()) {
	t.Helper()
	path := filepath.Join(dir, "filler")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	block := make([]byte, 64<<10)
	for {
		var s syscall.Statfs_t
		if err := syscall.Statfs(dir, &s); err != nil {
			t.Fatal(err)
		}
		if int64(s.Bavail)*s.Bsize <= left {
			break
		}
		if _, err := file.Write(block); err != nil {
			if errors.Is(err, syscall.ENOSPC) {
				break
			}
			t.Fatal(err)
		}
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// A disk that is full refuses, loses nothing that was acknowledged, and is taken up again by itself. Whether the store
// stops at its floor or really runs into the end of the disk, and whichever disk it is.
func TestDiskIsFull(t *testing.T) {
	for _, c := range []struct {
		name              string
		stream, warehouse string // size of the volume; empty: none of its own
		floor             uint64 // bytes that the store keeps free
		left              int64  // free bytes when the disk is full
		refuses           bool   // events are not taken meanwhile
		ends              bool   // the stream's process ends, for a write failed, and the kubelet starts it again
	}{
		{"the stream's, below its floor", "96m", "", 16 << 20, 8 << 20, true, false},
		{"the stream's, to the last byte", "96m", "", 1, 0, true, true},
		// Events wait in the stream until the warehouse has room.
		{"the warehouse's, below its floor", "", "256m", 64 << 20, 32 << 20, false, false},
		{"the warehouse's, to the last byte", "", "256m", 1, 0, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var disk string
			streamConfig, warehouseConfig := storejetstream.Config{}, storewarehouse.Config{}
			if c.stream != "" {
				disk = volume(t, c.stream)
				streamConfig.Dir, streamConfig.MinFree, streamConfig.MaxStore = filepath.Join(disk, "stream"), c.floor, 64<<20
			} else {
				disk = volume(t, c.warehouse)
				warehouseConfig.Path, warehouseConfig.MinFree = filepath.Join(disk, "warehouse"), c.floor
			}
			store := storetest.StartStream(t, streamConfig)
			data := storetest.StartWarehouse(t, warehouseConfig)
			conn := warehousetest.Connect(t, data.URL, storetest.User, storetest.Password)
			common := child{Stream: store.URL, Warehouse: data.URL, Credentials: warehousetest.Credentials(t, storetest.User, storetest.Password), Key: keyFile(t), Listen: freeAddress(t)}
			common.Name = "engine"
			engine := &process{child: common}
			common.Name = "collector"
			collector := &process{child: common}
			engine.Start(t)
			collector.Start(t)
			t.Cleanup(func() {
				_ = collector.cmd.Process.Kill()
				_ = engine.cmd.Process.Kill()
			})
			ctx, stop := context.WithCancel(t.Context())
			traffic := &load{url: "http://" + common.Listen}
			traffic.start(ctx)
			await(t, "events are taken", func() bool { return traffic.acknowledged.Load() > 2000 })

			empty := fill(t, disk, c.left)
			if c.refuses {
				refused := traffic.refused.Load()
				await(t, "events are refused", func() bool { return traffic.refused.Load() > refused+10 })
				await(t, "none is taken any more", func() bool {
					before := traffic.acknowledged.Load()
					time.Sleep(time.Second)
					return traffic.acknowledged.Load() == before
				})
			} else {
				time.Sleep(3 * time.Second)
			}
			during := traffic.acknowledged.Load()
			empty()
			if c.ends {
				_ = store.Wait() // says that it ended
				store.Start(t)
			}
			await(t, "events are taken again", func() bool { return traffic.acknowledged.Load() > during+2000 })
			stop()
			traffic.running.Wait()
			total := uint64(traffic.acknowledged.Load())
			stored, different := settle(t, conn, total)
			if stored != total || different != total {
				t.Errorf("%d acknowledged, %d stored, %d different: %d lost, %d doubled", total, stored, different, total-min(different, total), stored-different)
			}
			t.Logf("%d events acknowledged, %d of them before there was room again; %d requests refused", total, during, traffic.refused.Load())
			missing(t, conn, traffic)
		})
	}
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(40 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("after 40 s it is not so that %s", what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
