package client

import (
	"log/slog"
	"slices"
	"time"
)

// refresher is what is needed of a kgo.Client.
type refresher interface {
	// PartitionLeader gives -1, -1, nil for what the client doesn't use.
	PartitionLeader(topic string, partition int32) (leader, epoch int32, err error)
	ForceMetadataRefresh()
	UpdateSeedBrokers(addrs ...string) error
}

const (
	// The brokers read the change log as we do, and the one that a client asks may
	// not have the entry yet: a client is asked again after firstUrge, and twice
	// as long each time, urges times in all (2.5 s). Then it is on its own.
	firstUrge = 10 * time.Millisecond
	urges     = 8
)

// follower brings one client to the leaders that ZooKeeper has. It is used by
// Cluster.run's goroutine alone.
type follower struct {
	cl    refresher
	addrs []string            // the brokers that it was told of
	want  map[partition]int32 // the leader epoch that the client does not know yet
	left  int                 // urges
	wait  time.Duration       // before the next
	at    time.Time           // of the next
}

type partition struct {
	topic  string
	number int32
}

// reseed tells the client which brokers there are now, if it was told otherwise.
func (f *follower) reseed(addrs []string, logger *slog.Logger) {
	if len(addrs) == 0 || slices.Equal(addrs, f.addrs) {
		return
	}
	f.addrs = addrs
	if err := f.cl.UpdateSeedBrokers(addrs...); err != nil {
		logger.Warn("an advertised address can't be used", "addrs", addrs, "err", err)
	}
	f.cl.ForceMetadataRefresh()
}

// expect notes a leader that the client should learn of, if it uses the partition.
func (f *follower) expect(l Leader) {
	p := partition{l.Topic, l.Partition}
	if l.Broker < 0 { // nobody to go to
		delete(f.want, p)
		return
	}
	if f.uses(p) && !f.knows(p, l.Epoch) {
		f.want[p] = l.Epoch
		f.left, f.wait, f.at = urges, firstUrge, time.Time{}
	}
}

// uses reports whether the client has loaded the partition.
func (f *follower) uses(p partition) bool {
	leader, epoch, err := f.cl.PartitionLeader(p.topic, p.number)
	return leader >= 0 || epoch >= 0 || err != nil
}

func (f *follower) knows(p partition, epoch int32) bool {
	_, known, err := f.cl.PartitionLeader(p.topic, p.number)
	return err == nil && known >= epoch
}

// urge makes the client ask for metadata if it is time and it lacks something. It
// tells how long to wait until the next look, if there is one.
func (f *follower) urge(now time.Time) (wait time.Duration, again bool) {
	if len(f.want) == 0 {
		return 0, false
	}
	if wait := f.at.Sub(now); wait > 0 {
		return wait, true
	}
	for p, epoch := range f.want {
		if f.knows(p, epoch) || !f.uses(p) {
			delete(f.want, p)
		}
	}
	if len(f.want) == 0 || f.left == 0 {
		clear(f.want)
		return 0, false
	}
	f.cl.ForceMetadataRefresh()
	f.left--
	wait = f.wait
	f.at, f.wait = now.Add(wait), 2*wait
	return wait, true
}
