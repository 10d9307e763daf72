package replica

import (
	"log/slog"
	"testing"

	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
	"barnabas/log"
	"barnabas/log/checkpoint"
)

// TestNewOnesAreNotMissing: a broker whose directory was empty is asked what it
// can't serve before it has made the logs of a topic that is younger than its
// registration. They are not noted as missing.
func TestNewOnesAreNotMissing(t *testing.T) {
	mem := vfs.NewMem()
	logs, err := log.OpenManager(t.Context(), log.ManagerOptions{FS: mem, Dirs: []string{"/data"}, Defaults: log.DefaultOptions(), BootID: "boot"})
	if err != nil {
		t.Fatal(err)
	}
	m := NewManager(Options{
		Self: self, Logs: logs, Logger: slog.New(slog.DiscardHandler),
		Topic: func(map[string]string) (int, log.Options) { return 1, log.DefaultOptions() },
	})
	m.SetRegistration(100, 100)
	if u := m.Unavailable(image()); len(u) != 0 {
		t.Errorf("unavailable: %+v", u)
	}
	// One that may have been here is.
	m.SetRegistration(300, 300)
	m.born.Store(300)
	if u := m.Unavailable(image()); len(u) != 2 {
		t.Errorf("unavailable: %+v", u)
	}
	m.Settle(image())
	if err := logs.Close(); err != nil {
		t.Fatal(err)
	}
	named := func() int {
		points, err := checkpoint.ReadOffsets(mem, "/data/"+checkpoint.RecoveryPointFile)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, name := range []string{"t", "later"} {
			if _, ok := points[kafka.TopicPartition{Topic: name}]; ok {
				n++
			}
		}
		return n
	}
	if n := named(); n != 2 {
		t.Errorf("%d are remembered as missing, want 2", n)
	}

	mem = vfs.NewMem()
	logs, err = log.OpenManager(t.Context(), log.ManagerOptions{FS: mem, Dirs: []string{"/data"}, Defaults: log.DefaultOptions(), BootID: "boot"})
	if err != nil {
		t.Fatal(err)
	}
	m.logs = logs
	m.born.Store(100)
	m.Settle(image())
	if err := logs.Close(); err != nil {
		t.Fatal(err)
	}
	if n := named(); n != 0 {
		t.Errorf("%d new ones are remembered as missing", n)
	}
}
