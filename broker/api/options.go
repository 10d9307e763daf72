package api

import (
	"context"
	"log/slog"
	"time"

	"barnabas/broker/group"
	"barnabas/broker/purgatory"
	"barnabas/broker/quota"
	"barnabas/broker/replica"
	"barnabas/cluster"
	"barnabas/conf"
	"barnabas/internal/kafka"
	"barnabas/log"
	"barnabas/log/batch"
)

// Options hands the rooms to the API. Each handler uses what it names; a nil
// room makes the handlers that need it panic, so the assembly sets all of them.
type Options struct {
	// Logger. Default: nothing is logged.
	Logger *slog.Logger
	// BrokerID is this broker.
	BrokerID kafka.BrokerID
	// Image is the newest image of the cluster; never nil.
	Image func() *cluster.Image
	// AwaitImage waits until the image fulfils a condition or ctx ends. Nil:
	// nothing waits for an image.
	AwaitImage func(ctx context.Context, until func(*cluster.Image) bool) error
	// NewerWait is how long a request waits that names a topic id or a leader epoch
	// which this broker has not read of yet, before it is refused. Default 100 ms.
	NewerWait time.Duration
	// FeatureEpoch is the version of the znode /feature; -1 or nil: unknown.
	FeatureEpoch func() int64

	// Replicas are the partitions of this broker.
	Replicas Replicas
	// Fetches parks fetches that wait for data; it is woken by partition
	// whenever the end that readers see, or the leader, moves.
	Fetches *purgatory.Purgatory[kafka.TopicPartition]
	// Codecs open batches for clients of old message formats. Default: new ones.
	Codecs *batch.Codecs
	// Offsets answers questions about offsets of this broker's partitions.
	Offsets Offsets
	// Records deletes and describes what this broker's partitions hold.
	Records Records
	// ProducerIDs are for idempotent producers.
	ProducerIDs ProducerIDs
	// Config is the configuration in force, with what was changed dynamically.
	Config func() *conf.Config
	// Controller is this broker's, elected or not; other brokers ask it.
	Controller Controller
	// Reassignments is the same controller, for those who move replicas.
	Reassignments Reassignments
	// Ends tells where replicas end, for elections.
	Ends ReplicaEnds
	// Topics makes, extends and deletes topics.
	Topics Topics
	// Confirm tells another broker whether this one saw a process die. Nil: it
	// never does.
	Confirm func(ctx context.Context, id kafka.BrokerID, epoch kafka.BrokerEpoch) bool
	// Deaths tells whose processes may just have ended. Default: all are taken to
	// live.
	Deaths Deaths
	// Explain tells how something became what it is, as JSON (cluster/journal).
	Explain func(subject string) (string, error)
	// Groups coordinates consumer groups; Coordinators finds who does.
	Groups       *group.Coordinator
	Coordinators *group.Finder
	// GroupBytes bounds the memory of what members of groups sent, beyond 64 KiB of
	// each. Default 64 MiB.
	GroupBytes int64
	// Throttle is that of the leader's side of replication; nil: none.
	Throttle *quota.Throttle
	// FetchMaxBytes bounds any fetch answer (fetch.max.bytes). Default
	// 57671680.
	FetchMaxBytes int
	// FetchSessionSlots is max.incremental.fetch.session.cache.slots. Default
	// 1000; negative: no sessions.
	FetchSessionSlots int
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Codecs == nil {
		o.Codecs = batch.NewCodecs(batch.Limits{})
	}
	if o.Deaths == nil {
		o.Deaths = nobodyDies{}
	}
	if o.GroupBytes <= 0 {
		o.GroupBytes = 64 << 20
	}
	if o.FetchMaxBytes <= 0 {
		o.FetchMaxBytes = 57671680
	}
	if o.NewerWait <= 0 {
		o.NewerWait = 100 * time.Millisecond
	}
	if o.FetchSessionSlots == 0 {
		o.FetchSessionSlots = 1000
	}
	return o
}

// Deaths is what answers about leaders need of the watch over other brokers;
// *deathwatch.Watch is it.
type Deaths interface {
	// InDoubt reports whether there are doubts, and takes no time.
	InDoubt() bool
	// Doubts looks whether there are some. The caller must not change them.
	Doubts() []cluster.Doubt
	// AwaitVerdict waits as long as undecided reports of the brokers in doubt that it
	// matters whether they are dead, but for no longer than a moment.
	AwaitVerdict(ctx context.Context, undecided func([]cluster.Doubt) bool)
}

type nobodyDies struct{}

func (nobodyDies) InDoubt() bool                                            { return false }
func (nobodyDies) Doubts() []cluster.Doubt                                  { return nil }
func (nobodyDies) AwaitVerdict(context.Context, func([]cluster.Doubt) bool) {}

// Replicas is what Produce and Fetch need of the partitions;
// *replica.Manager is it. Errors carry their code in their chain (see
// protocol.CodeOf).
type Replicas interface {
	Append(tp kafka.TopicPartition, recs []byte, acks int16, origin log.Origin) (replica.Appended, error)
	AwaitReplicated(tp kafka.TopicPartition, last int64, epoch kafka.LeaderEpoch, wait time.Duration, done func(error)) (cancel func())
	Read(a *replica.ReadArgs) (replica.Data, error)
	// AwaitServing waits until this broker serves all of the partitions as their
	// leader.
	AwaitServing(ctx context.Context, tps []kafka.TopicPartition) error
	// Behind reports whether a partition is here, in a leadership older than epoch.
	Behind(tp kafka.TopicPartition, epoch kafka.LeaderEpoch) bool
}

var _ Replicas = (*replica.Manager)(nil)
