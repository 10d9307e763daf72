package testcluster

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Faults of disks.

// dir is one of a broker's log directories.
func (x *chaos) dir(n *Node) string { return n.disk.dirs[x.rng.IntN(len(n.disk.dirs))] }

func (x *chaos) fillDisk(ctx context.Context) {
	n := x.node()
	dir := x.dir(n)
	x.note("%s of %s is full", dir, n.name())
	n.disk.set(dir, func(s *dirState) { s.full = true })
	x.later(ctx, x.between(0, 15*time.Second), func() {
		n.disk.set(dir, func(s *dirState) { s.full = false })
		x.note("over: %s of %s is full", dir, n.name())
	})
}

// failSync lets the next fsync fail. Where other directories are left the broker goes
// on, and somebody starts it again later.
func (x *chaos) failSync(ctx context.Context) {
	n := x.node()
	dir := x.dir(n)
	x.note("the next fsync of %s of %s fails", dir, n.name())
	n.disk.set(dir, func(s *dirState) { s.failSync = true })
	x.restart(ctx, n, x.between(0, 20*time.Second))
}

// breakDir lets everything in a directory fail for a while.
func (x *chaos) breakDir(ctx context.Context) {
	n := x.node()
	dir := x.dir(n)
	x.note("%s of %s is broken", dir, n.name())
	n.disk.set(dir, func(s *dirState) { s.broken = true })
	lasts := x.between(0, 15*time.Second)
	x.later(ctx, lasts, func() {
		n.disk.set(dir, func(s *dirState) { s.broken = false })
		x.note("over: %s of %s is broken", dir, n.name())
	})
	if x.rng.IntN(3) == 0 { // and found broken at a start
		x.restart(ctx, n, x.between(0, lasts+1))
	}
	x.restart(ctx, n, lasts+x.between(0, 5*time.Second))
}

// restart stops a broker after a while, and starts it again.
func (x *chaos) restart(ctx context.Context, n *Node, after time.Duration) {
	x.later(ctx, after, func() {
		n.Stop()
		n.Start()
	})
}

// moveLog moves a replica to a directory of its broker, be it there or not.
func (x *chaos) moveLog(ctx context.Context) {
	n := x.node()
	_, tp := x.partition()
	dir := x.dir(n)
	x.note("%v of %s is to be in %s", tp, n.name(), dir)
	x.administer(ctx, 10*time.Second, func(ctx context.Context, k *client) {
		req := kmsg.NewPtrAlterReplicaLogDirsRequest()
		req.Version = 1
		rd := kmsg.NewAlterReplicaLogDirsRequestDir()
		rd.Dir = dir
		rt := kmsg.NewAlterReplicaLogDirsRequestDirTopic()
		rt.Topic, rt.Partitions = tp.Topic, []int32{tp.Partition}
		rd.Topics = append(rd.Topics, rt)
		req.Dirs = append(req.Dirs, rd)
		if _, err := k.request(ctx, n.addr(), req); err != nil {
			x.note("%v of %s is to be in %s: %v", tp, n.name(), dir, err)
		}
	})
}
