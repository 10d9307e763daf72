package group

import (
	"cmp"
	"slices"
	"time"
	"unicode/utf8"

	"barnabas/internal/kafka"
	"barnabas/protocol"
	"barnabas/protocol/grouplog"
)

// committed is one offset of a group. Times are milliseconds.
type committed struct {
	offset     int64
	epoch      int32
	metadata   string
	timestamp  int64
	expiration int64 // grouplog.NoExpiration
	// at is the log offset of the batch that holds it: of two commits the one
	// with the larger counts.
	at int64
}

// offsets are the committed offsets of one group.
type offsets struct {
	stable map[kafka.TopicPartition]committed
	// pending counts the commits in flight of each partition.
	pending map[kafka.TopicPartition]int
	// open are the commits of transactions that have not ended.
	open map[kafka.ProducerID]map[kafka.TopicPartition]committed
}

func (o *offsets) empty() bool {
	return len(o.stable) == 0 && len(o.pending) == 0 && len(o.open) == 0
}

// unstable reports whether a commit in flight or an open transaction may change
// the offset of tp.
func (o *offsets) unstable(tp kafka.TopicPartition) bool {
	if o.pending[tp] > 0 {
		return true
	}
	for _, t := range o.open {
		if _, is := t[tp]; is {
			return true
		}
	}
	return false
}

func (o *offsets) put(tp kafka.TopicPartition, c committed) {
	if old, found := o.stable[tp]; found && old.at > c.at {
		return
	}
	if o.stable == nil {
		o.stable = map[kafka.TopicPartition]committed{}
	}
	o.stable[tp] = c
}

// begin keeps a transaction's commit until it ends.
func (o *offsets) begin(p kafka.ProducerID, tp kafka.TopicPartition, c committed) {
	if o.open == nil {
		o.open = map[kafka.ProducerID]map[kafka.TopicPartition]committed{}
	}
	if o.open[p] == nil {
		o.open[p] = map[kafka.TopicPartition]committed{}
	}
	o.open[p][tp] = c
}

// end merges or drops what a transaction committed.
func (o *offsets) end(p kafka.ProducerID, commit bool) {
	if commit {
		for tp, c := range o.open[p] {
			o.put(tp, c)
		}
	}
	delete(o.open, p)
}

// BeginCommit checks a commit and marks those of its partitions that are to be
// stored as in flight; their number is returned. The others, and all if the
// whole is refused, have their Err set. Partitions that came with one are left
// alone. Timestamps are filled in.
func (m *Machine) BeginCommit(now time.Time, r *CommitRequest) int {
	if err := m.validateCommit(r); err != ok {
		r.failAll(err)
		return 0
	}
	if p := m.members[r.MemberID]; p != nil && !p.fresh {
		m.heard(p, now)
	}
	ms := now.UnixMilli()
	accepted := 0
	for i := range r.Topics {
		t := &r.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			if p.Err == ok && !fitsMetadata(p.Metadata, m.limits.MaxMetadata) {
				p.Err = errMetadataTooLarge
			}
			if p.Err != ok {
				continue
			}
			if p.Timestamp == grouplog.NoTimestamp {
				p.Timestamp = ms
			}
			p.expiration = grouplog.NoExpiration
			if r.Retention >= 0 {
				p.expiration = ms + r.Retention.Milliseconds()
			}
			if m.offsets.pending == nil {
				m.offsets.pending = map[kafka.TopicPartition]int{}
			}
			m.offsets.pending[kafka.TopicPartition{Topic: t.Topic, Partition: p.Partition}]++
			accepted++
		}
	}
	return accepted
}

// EndCommit tells the outcome of the append, at base offset base, of what
// BeginCommit accepted.
func (m *Machine) EndCommit(r *CommitRequest, base int64, err error) {
	code := commitStoreError(err)
	for i := range r.Topics {
		t := &r.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			if p.Err != ok {
				continue
			}
			p.Err = code
			tp := kafka.TopicPartition{Topic: t.Topic, Partition: p.Partition}
			if m.offsets.pending[tp]--; m.offsets.pending[tp] <= 0 {
				delete(m.offsets.pending, tp)
			}
			if code == ok { // also if Dead: a deletion that fails brings the group back
				m.offsets.put(tp, committed{p.Offset, p.LeaderEpoch, p.Metadata, p.Timestamp, p.expiration, base})
			}
		}
	}
}

// validateCommit is GroupCoordinator.validateOffsetCommit and the state's say.
func (m *Machine) validateCommit(r *CommitRequest) protocol.Error {
	switch {
	case m.state == Dead:
		return errNotAvailable
	case r.Generation < 0 && m.state == Empty:
		return ok // a simple consumer, or an administrator
	case r.Generation < 0 && r.MemberID == "" && r.InstanceID == nil:
		return errUnknownMember
	}
	if m.Vacant() {
		return errIllegalGeneration // the group did not exist before this request
	}
	if err := m.validate(r.MemberID, r.InstanceID); err != ok {
		return err
	}
	if r.Generation != m.generation {
		return errIllegalGeneration
	}
	if m.state == CompletingRebalance {
		return errRebalancing
	}
	return ok
}

func (r *CommitRequest) failAll(err protocol.Error) {
	for i := range r.Topics {
		for j := range r.Topics[i].Partitions {
			if p := &r.Topics[i].Partitions[j]; p.Err == ok {
				p.Err = err
			}
		}
	}
}

// fitsMetadata reports whether s has at most limit UTF-16 units.
func fitsMetadata(s string, limit int) bool {
	if len(s) <= limit {
		return true
	}
	if !grouplog.FitsString(s) {
		return false
	}
	n := 0
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		n++
		if r > 0xffff {
			n++
		}
		i += size
	}
	return n <= limit
}

// Fetch returns committed offsets.
func (m *Machine) Fetch(r *FetchRequest) FetchResponse {
	if m.state == Dead {
		return fetchNothing(r)
	}
	topics := r.Topics
	if topics == nil {
		topics = m.offsets.topics()
	}
	res := FetchResponse{Topics: make([]FetchedTopic, 0, len(topics))}
	for _, t := range topics {
		f := FetchedTopic{t.Topic, make([]FetchedPartition, 0, len(t.Partitions))}
		for _, p := range t.Partitions {
			f.Partitions = append(f.Partitions, m.offsets.fetch(t.Topic, p, r.RequireStable))
		}
		res.Topics = append(res.Topics, f)
	}
	return res
}

func (o *offsets) fetch(topic string, partition int32, stable bool) FetchedPartition {
	tp := kafka.TopicPartition{Topic: topic, Partition: partition}
	if stable && o.unstable(tp) {
		return FetchedPartition{partition, -1, grouplog.NoEpoch, "", errUnstableOffset}
	}
	c, found := o.stable[tp]
	if !found {
		return FetchedPartition{partition, -1, grouplog.NoEpoch, "", ok}
	}
	return FetchedPartition{partition, c.offset, c.epoch, c.metadata, ok}
}

// topics lists the partitions that have offsets, by name and number.
func (o *offsets) topics() []FetchTopic {
	byTopic := map[string][]int32{}
	for tp := range o.stable {
		byTopic[tp.Topic] = append(byTopic[tp.Topic], tp.Partition)
	}
	out := make([]FetchTopic, 0, len(byTopic))
	for t, ps := range byTopic {
		slices.Sort(ps)
		out = append(out, FetchTopic{t, ps})
	}
	slices.SortFunc(out, func(a, b FetchTopic) int { return cmp.Compare(a.Topic, b.Topic) })
	return out
}

// fetchNothing answers for a group that is not known: no offset anywhere.
func fetchNothing(r *FetchRequest) FetchResponse {
	var none offsets
	res := FetchResponse{Topics: make([]FetchedTopic, 0, len(r.Topics))}
	for _, t := range r.Topics {
		f := FetchedTopic{t.Topic, make([]FetchedPartition, 0, len(t.Partitions))}
		for _, p := range t.Partitions {
			f.Partitions = append(f.Partitions, none.fetch(t.Topic, p, false))
		}
		res.Topics = append(res.Topics, f)
	}
	return res
}

// Expire forgets the offsets whose time is over (KIP-211) and returns them. If
// the group then holds nothing it is Dead; tombstone tells whether its own
// record needs one.
func (m *Machine) Expire(now time.Time) (gone []kafka.TopicPartition, tombstone bool) {
	ms := now.UnixMilli()
	return m.forget(now, func(tp kafka.TopicPartition, c committed) bool {
		if m.offsets.unstable(tp) {
			return false
		}
		base := c.timestamp
		switch {
		case m.protocolType == "":
		case m.state == Empty:
			if !m.since.IsZero() {
				base = m.since.UnixMilli()
			}
		case m.state == Stable && m.protocolType == grouplog.ConsumerProtocol && m.subscribed != nil:
			if _, is := m.subscribed[tp.Topic]; is {
				return false
			}
		default:
			return false
		}
		if c.expiration != grouplog.NoExpiration {
			return ms >= c.expiration
		}
		return ms-base >= m.limits.Retention.Milliseconds()
	})
}

// DropTopics forgets the offsets of deleted topics; results as of Expire.
func (m *Machine) DropTopics(now time.Time, deleted func(topic string) bool) (gone []kafka.TopicPartition, tombstone bool) {
	return m.forget(now, func(tp kafka.TopicPartition, _ committed) bool { return deleted(tp.Topic) })
}

func (m *Machine) forget(now time.Time, old func(kafka.TopicPartition, committed) bool) (gone []kafka.TopicPartition, tombstone bool) {
	if m.state == Dead {
		return nil, false
	}
	m.forgotten = forgotten{since: m.since}
	for tp, c := range m.offsets.stable {
		if old(tp, c) {
			gone = append(gone, tp)
			m.forgotten.put(tp, c)
			delete(m.offsets.stable, tp)
		}
	}
	return m.buried(now, gone)
}

// buried sorts what was removed, and ends the group if it holds nothing else.
func (m *Machine) buried(now time.Time, gone []kafka.TopicPartition) (_ []kafka.TopicPartition, tombstone bool) {
	slices.SortFunc(gone, func(a, b kafka.TopicPartition) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	if m.state == Empty && m.offsets.empty() && len(m.pending) == 0 && len(m.writes) == 0 {
		m.enter(Dead, now)
		// A group of generation 0 has no record of its own.
		tombstone = m.generation > 0
	}
	return gone, tombstone
}
