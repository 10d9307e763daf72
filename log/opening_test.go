package log

import (
	"context"
	"strings"
	"testing"

	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
)

// TestOpeningOutlivesTheStart: the context of OpenManager is a start's, which ends
// before many logs are open. They are opened all the same.
func TestOpeningOutlivesTheStart(t *testing.T) {
	mem := vfs.NewMem()
	one := func(o *ManagerOptions) { o.Dirs = []string{"/a"} }
	m := mustManager(t, mem, one)
	must(t, m.WriteMeta(Meta{BrokerID: 1}))
	for n := range 5 {
		_, err := m.GetOrCreate(part(n), kafka.TopicID{7}, true)
		must(t, err)
	}
	must(t, m.Close())

	gate := make(chan struct{})
	fs := vfs.NewFailing(mem, func(op vfs.Op) error {
		if op.Kind == vfs.OpList && strings.HasPrefix(op.Name, "/a/t-") {
			<-gate
		}
		return nil
	})
	ctx, started := context.WithCancel(t.Context())
	defer started()
	m, err := OpenManager(ctx, ManagerOptions{FS: fs, Dirs: []string{"/a"}, Defaults: DefaultOptions(), BootID: "boot", Background: true, RecoveryThreads: 1})
	must(t, err)
	started()
	close(gate)
	<-m.Opened()
	if n := m.Unopened(); n != 0 {
		t.Errorf("%d logs are not open", n)
	}
	must(t, m.Close())
}
