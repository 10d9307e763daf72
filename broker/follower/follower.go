package follower

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"barnabas/broker/quota"
	"barnabas/broker/replica"
	"barnabas/internal/kafka"
	"barnabas/net/peer"
)

// Replicas is where copies go: broker/replica's Manager. Its ErrNotFollowing
// ends the copying of a partition until Follow names it again.
type Replicas interface {
	FetchPosition(f *replica.Following) (replica.Position, error)
	AppendFetched(f *replica.Following, recs []byte, highWatermark, logStart int64) error
	Diverged(f *replica.Following, leader replica.EpochEnd) error
	OutOfRange(f *replica.Following, leaderStart, leaderEnd int64) error
}

// Options of New. Self, Epoch, Replicas and Peers are required.
type Options struct {
	Self kafka.BrokerID
	// Epoch is this broker's registration, false while there is none; nothing is
	// fetched then.
	Epoch    func() (kafka.BrokerEpoch, bool)
	Replicas Replicas
	Peers    *peer.Peers
	// FetchMinBytes (default 1) and FetchWaitMax (default 500 ms) are what a
	// request waits for at the leader.
	FetchMinBytes int
	FetchWaitMax  time.Duration
	// PartitionMaxBytes (default 1 MiB) and ResponseMaxBytes (default 10 MiB)
	// bound an answer; its first batch comes whole.
	PartitionMaxBytes, ResponseMaxBytes int
	// Throttle is that of the follower's side of replication; nil: none.
	Throttle *quota.Throttle
	// Backoff is the longest pause after a failure. Default 1 s.
	Backoff time.Duration
	// Fetchers is the number of loops per leader. Default 1.
	Fetchers int
	Logger   *slog.Logger
}

// Follower copies partitions. It is safe for concurrent use.
type Follower struct {
	o  Options
	wg sync.WaitGroup // loops

	mu      sync.Mutex      // guards following, o.Fetchers, and the loops' inboxes
	ctx     context.Context // nil before Run
	stopped bool            // Run ends
	loops   map[loopKey]*loop
	told    map[kafka.TopicPartition]told
}

// told is what Follow was last told of a partition, and the loop that has it.
type told struct {
	what replica.Following
	by   *loop
}

// loopKey names a loop.
type loopKey struct {
	leader  kafka.BrokerID
	fetcher int32
}

// New makes a Follower that copies nothing until Run.
func New(o Options) *Follower {
	if o.FetchMinBytes <= 0 {
		o.FetchMinBytes = 1
	}
	if o.FetchWaitMax <= 0 {
		o.FetchWaitMax = 500 * time.Millisecond
	}
	if o.PartitionMaxBytes <= 0 {
		o.PartitionMaxBytes = 1 << 20
	}
	if o.ResponseMaxBytes <= 0 {
		o.ResponseMaxBytes = 10 << 20
	}
	if o.Backoff <= 0 {
		o.Backoff = time.Second
	}
	if o.Fetchers <= 0 {
		o.Fetchers = 1
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Follower{o: o, loops: map[loopKey]*loop{}, told: map[kafka.TopicPartition]told{}}
}

// fetcherOf is the fetcher of a partition, as in Kafka's
// AbstractFetcherManager.
func fetcherOf(tp kafka.TopicPartition, fetchers int) int32 {
	h := int64(31*kafka.JavaHash(tp.Topic) + tp.Partition)
	return int32(max(h, -h) % int64(fetchers))
}

// Follow notes that a partition is to be copied as f says, or not any more; of
// the latter only the partition's name counts. Told the same again it starts
// over where it stands. It does not wait.
func (f *Follower) Follow(what replica.Following, on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.followLocked(what, on)
}

// SetFetchers changes the number of loops per leader. Partitions that another
// loop has from now on go on where they are; what the loop before is just being
// sent is refused by the log, which has it or will have it.
func (f *Follower) SetFetchers(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n = max(n, 1); n == f.o.Fetchers {
		return
	}
	f.o.Fetchers = n
	for _, t := range f.told {
		if t.by.key.fetcher != fetcherOf(t.what.TP, n) {
			t.by.putLocked(t.what, false, true) // it need not wait for its leader's answer
			f.followLocked(t.what, true)
		}
	}
}

// Fetchers is the number of loops per leader.
func (f *Follower) Fetchers() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.o.Fetchers
}

func (f *Follower) followLocked(what replica.Following, on bool) {
	old := f.told[what.TP]
	if !on {
		if old.by != nil {
			old.by.putLocked(what, false, false)
			delete(f.told, what.TP)
			if at := old.by.busy.Load(); at != nil && *at == what.TP {
				f.abandonLocked(old.by)
			}
		}
		return
	}
	key := loopKey{what.Leader, fetcherOf(what.TP, f.o.Fetchers)}
	l := f.loops[key]
	if l == nil {
		l = newLoop(f, key)
		f.loops[key] = l
		f.startLocked(l)
	}
	if old.by != nil && old.by != l {
		old.by.putLocked(what, false, false)
	}
	l.putLocked(what, true, old.what != what)
	f.told[what.TP] = told{what, l}
}

// abandonLocked gives a loop's partitions to another one: it waits for the log of a
// partition that is not to be copied any more, maybe since its disk does not answer,
// and then without an end. If it goes on all the same, the log refuses what the other
// loop was sent before.
func (f *Follower) abandonLocked(l *loop) {
	l.abandoned.Store(true)
	if f.loops[l.key] == l {
		delete(f.loops, l.key)
	}
	for _, t := range f.told {
		if t.by == l {
			f.followLocked(t.what, true)
		}
	}
}

// Run copies until ctx ends.
func (f *Follower) Run(ctx context.Context) error {
	f.mu.Lock()
	if f.ctx != nil {
		f.mu.Unlock()
		return errors.New("follower: Run was called twice")
	}
	f.ctx = ctx
	for _, l := range f.loops {
		f.startLocked(l)
	}
	f.mu.Unlock()
	<-ctx.Done()
	f.mu.Lock()
	f.stopped = true
	f.mu.Unlock()
	f.wg.Wait()
	return ctx.Err()
}

func (f *Follower) startLocked(l *loop) {
	if f.ctx != nil && !f.stopped {
		f.wg.Go(func() { l.run(f.ctx) })
	}
}

// forget ends a loop that has nothing to copy, unless something just came.
func (f *Follower) forget(l *loop) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(l.inbox) > 0 {
		return false
	}
	if f.loops[l.key] == l {
		delete(f.loops, l.key)
	}
	return true
}
