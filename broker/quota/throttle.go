package quota

import (
	"maps"
	"math"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"barnabas/internal/kafka"
	"barnabas/internal/metrics"
)

// Replicas are those of a topic that a throttle is for, on this broker.
type Replicas struct {
	all        bool
	partitions map[int32]bool
}

// ParseReplicas reads leader.replication.throttled.replicas and its twin: "*", or
// "partition:broker,…", of which those of self count. What is no such pair is
// passed over: it was checked when it was set, and a hand is not worth a throttle
// of all.
func ParseReplicas(list string, self kafka.BrokerID) Replicas {
	if strings.TrimSpace(list) == "*" {
		return Replicas{all: true}
	}
	r := Replicas{}
	for pair := range strings.SplitSeq(list, ",") {
		partition, broker, _ := strings.Cut(strings.TrimSpace(pair), ":")
		p, err1 := strconv.ParseInt(partition, 10, 32)
		b, err2 := strconv.ParseInt(broker, 10, 32)
		if err1 != nil || err2 != nil || kafka.BrokerID(b) != self {
			continue
		}
		if r.partitions == nil {
			r.partitions = map[int32]bool{}
		}
		r.partitions[int32(p)] = true
	}
	return r
}

func (r Replicas) none() bool { return !r.all && len(r.partitions) == 0 }

func (r Replicas) has(partition int32) bool { return r.all || r.partitions[partition] }

// Unlimited is the limit of a throttle that holds nothing back.
const Unlimited = math.MaxInt64

// Throttle bounds the bytes per second that replicas cost this broker, as leader
// or as follower: Kafka's ReplicationQuotaManager. It is for replicas that are
// named, while they are out of sync; whoever asks knows that. All its methods are
// safe for concurrent use, and a nil Throttle is one that is not set. Without a
// limit, or without replicas, it costs one atomic load.
type Throttle struct {
	active atomic.Bool
	topics atomic.Pointer[map[string]Replicas] // replaced as a whole, under mu

	mu    sync.Mutex // guards following
	limit int64
	rate  Rate
}

// NewThrottle makes a throttle that holds nothing back. samples and size are
// replication.quota.window.num and .size.seconds.
func NewThrottle(samples int, size time.Duration) *Throttle {
	t := &Throttle{limit: Unlimited, rate: NewRate(samples, size)}
	t.topics.Store(&map[string]Replicas{})
	return t
}

// SetLimit sets the bytes per second.
func (t *Throttle) SetLimit(perSecond int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.limit = perSecond
	t.settleLocked()
}

// Limit is the rate now, in bytes per second.
func (t *Throttle) Limit() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.limit
}

// SetTopic names the replicas of a topic.
func (t *Throttle) SetTopic(topic string, r Replicas) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := *t.topics.Load()
	if _, was := old[topic]; !was && r.none() {
		return // as of nearly every topic
	}
	next := maps.Clone(old)
	if next[topic] = r; r.none() {
		delete(next, topic)
	}
	t.topics.Store(&next)
	t.settleLocked()
}

func (t *Throttle) settleLocked() { t.active.Store(t.limit < Unlimited && len(*t.topics.Load()) > 0) }

// Active reports whether the throttle may hold anything back.
func (t *Throttle) Active() bool { return t != nil && t.active.Load() }

// Covers reports whether the throttle is for a replica.
func (t *Throttle) Covers(topic string, partition int32) bool {
	return t.Active() && (*t.topics.Load())[topic].has(partition)
}

// Room is how many bytes may go before the rate is above its limit; 0 if it is,
// else at least 1.
func (t *Throttle) Room() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	sum, over := t.rate.Sum(time.Now())
	allowed := float64(t.limit) * over.Seconds()
	if float64(sum) > allowed {
		return 0
	}
	return max(int64(min(allowed-float64(sum), math.MaxInt32)), 1)
}

// Wait is how long the rate stays above its limit; 0 if it is not.
func (t *Throttle) Wait() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.rate.Under(time.Now(), t.limit)
}

// Record adds bytes of replicas that the throttle is for, in sync or not.
func (t *Throttle) Record(n int64) {
	if n <= 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rate.Record(time.Now(), n)
}

// Collect writes the rate as Kafka's LeaderReplication and FollowerReplication
// do; side is "leader" or "follower".
func (t *Throttle) Collect(p *metrics.Page, side string) {
	t.mu.Lock()
	rate := t.rate.PerSecond(time.Now())
	t.mu.Unlock()
	p.Gauge("kafka_server_"+side+"replication_byte_rate", "Bytes per second of replicas that are throttled on the "+side+"'s side.", int64(rate))
}
