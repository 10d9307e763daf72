package log

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"barnabas/internal/kafka"
	"barnabas/log/batch"
	"barnabas/log/index"
)

// cachedBatches is how many of a producer's last batches are remembered to tell
// duplicates (ProducerStateEntry.NUM_BATCHES_TO_RETAIN).
const cachedBatches = 5

// sentBatch is one batch of a producer.
type sentBatch struct {
	lastSequence int32
	delta        int32 // last offset minus first
	lastOffset   int64
	timestamp    int64
}

func (b *sentBatch) firstSequence() int32 {
	if b.lastSequence >= b.delta {
		return b.lastSequence - b.delta
	}
	return math.MaxInt32 - (b.delta - b.lastSequence) + 1
}

// producer is what the log knows of one producer id.
type producer struct {
	epoch            int16
	coordinatorEpoch int32
	n                int8 // batches in sent, oldest first
	sent             [cachedBatches]sentBatch
	lastTimestamp    int64
	txnFirst         int64 // first offset of the open transaction, -1 if none
}

func (p *producer) lastSequence() int32 {
	if p.n == 0 {
		return -1
	}
	return p.sent[p.n-1].lastSequence
}

// setEpoch takes a newer epoch over; its sequences begin anew.
func (p *producer) setEpoch(epoch int16) {
	if p.epoch != epoch {
		p.epoch, p.n = epoch, 0
	}
}

func (p *producer) add(b sentBatch) {
	if p.n == cachedBatches {
		copy(p.sent[:], p.sent[1:])
		p.n--
	}
	p.sent[p.n] = b
	p.n++
	p.lastTimestamp = b.timestamp
}

// txn is a transaction's place in the partition.
type txn struct {
	producerID  int64
	first, last int64 // last is the offset of its marker
	abort       bool
}

// marker is the record of a control batch that ends a transaction.
type marker struct {
	commit           bool
	coordinatorEpoch int32
	timestamp        int64
}

// verification is a check with the transaction coordinator that is under way
// (KIP-890).
type verification struct {
	guard          Guard
	lowestSequence int32
	epoch          int16
	started        time.Time
}

// producers is the state of all producers of a partition
// (storage.internals.log.ProducerStateManager): what tells duplicates and gaps,
// and where transactions begin. Guarded by Log.mu.
//
// A transaction is open from its first batch to its marker, then undecided to
// readers until its marker is below the high watermark, then forgotten.
type producers struct {
	byID map[int64]*producer
	// open transactions, by first offset.
	open []txn
	// ended transactions whose marker is at or above the high watermark, by
	// first offset.
	ended []txn
	// next is the offset up to which batches are accounted for; snapshot is the
	// offset of the last snapshot, -1 if none.
	next, snapshot int64
	expiration     *atomic.Int64 // a time.Duration

	verify    bool
	pending   map[int64]*verification
	lastGuard Guard
}

func newProducers(o *OpenOptions, next int64) *producers {
	expiration := o.expiration
	if expiration == nil {
		expiration = new(atomic.Int64)
		expiration.Store(int64(o.ProducerIDExpiration))
	}
	return &producers{
		byID: map[int64]*producer{}, next: next, snapshot: -1,
		expiration: expiration, verify: o.VerifyTransactions, pending: map[int64]*verification{},
	}
}

// check judges a batch before it is written (docs/format/log.md). m is given for
// control batches. A batch that a client sent before is returned as duplicate.
func (ps *producers) check(h *batch.Header, m *marker, origin Origin, guard Guard) (dup *sentBatch, err error) {
	if !h.HasProducer() {
		return nil, nil
	}
	p := ps.byID[h.ProducerID]
	if origin == Client {
		if dup := p.duplicate(h); dup != nil {
			return dup, nil
		}
		if err := ps.checkGuard(h, p, guard); err != nil {
			return nil, err
		}
	}
	if p == nil || origin == Replication {
		return nil, ps.checkLowest(h, origin)
	}
	if h.ProducerEpoch < p.epoch {
		return nil, fmt.Errorf("%w: producer %d has epoch %d, got %d", ErrInvalidProducerEpoch, h.ProducerID, p.epoch, h.ProducerEpoch)
	}
	if h.Control() {
		if m != nil && m.coordinatorEpoch < p.coordinatorEpoch {
			return nil, fmt.Errorf("%w: producer %d has coordinator epoch %d, got %d", ErrCoordinatorFenced, h.ProducerID, p.coordinatorEpoch, m.coordinatorEpoch)
		}
		return nil, nil
	}
	if origin == Client {
		if err := ps.checkSequence(h, p); err != nil {
			return nil, err
		}
	}
	if p.txnFirst >= 0 && !h.Transactional() {
		return nil, fmt.Errorf("%w: producer %d has a transaction open", ErrInvalidTxnState, h.ProducerID)
	}
	return nil, nil
}

// duplicate finds the cached batch that h repeats.
func (p *producer) duplicate(h *batch.Header) *sentBatch {
	if p == nil || p.epoch != h.ProducerEpoch || h.Control() {
		return nil
	}
	last := h.LastSequence()
	for i := range p.n {
		if b := &p.sent[i]; b.firstSequence() == h.BaseSequence && b.lastSequence == last {
			return b
		}
	}
	return nil
}

func (ps *producers) checkGuard(h *batch.Header, p *producer, guard Guard) error {
	if !ps.verify || !h.Transactional() || h.Control() {
		return nil
	}
	if p != nil && p.txnFirst >= 0 && p.epoch == h.ProducerEpoch {
		return nil
	}
	if v := ps.pending[h.ProducerID]; v == nil || guard == 0 || v.guard != guard {
		return fmt.Errorf("%w: producer %d's transaction was not verified", ErrInvalidTxnState, h.ProducerID)
	}
	return nil
}

// checkLowest keeps a later batch from overtaking the first one of a transaction
// while that is being verified.
func (ps *producers) checkLowest(h *batch.Header, origin Origin) error {
	if origin != Client || len(ps.pending) == 0 {
		return nil
	}
	if v := ps.pending[h.ProducerID]; v != nil && h.BaseSequence > v.lowestSequence {
		return outOfOrder(h, v.lowestSequence)
	}
	return nil
}

func (ps *producers) checkSequence(h *batch.Header, p *producer) error {
	if err := ps.checkLowest(h, Client); err != nil {
		return err
	}
	if h.ProducerEpoch != p.epoch {
		if h.BaseSequence != 0 && p.epoch != batch.Absent {
			return outOfOrder(h, 0)
		}
		return nil
	}
	if want := batch.AddSequence(p.lastSequence(), 1); p.epoch != batch.Absent && h.BaseSequence != want {
		return outOfOrder(h, want)
	}
	return nil
}

func outOfOrder(h *batch.Header, want int32) error {
	return fmt.Errorf("%w: producer %d epoch %d: got %d, expected %d", ErrOutOfOrderSequence, h.ProducerID, h.ProducerEpoch, h.BaseSequence, want)
}

// apply takes a written batch into account. If it was the marker of an open
// transaction, that is returned.
func (ps *producers) apply(h *batch.Header, m *marker) (ended txn, ok bool) {
	ps.next = h.NextOffset()
	if !h.HasProducer() || h.Control() && m == nil {
		return txn{}, false
	}
	p := ps.byID[h.ProducerID]
	if p == nil {
		p = &producer{epoch: batch.Absent, coordinatorEpoch: -1, lastTimestamp: -1, txnFirst: -1}
		ps.byID[h.ProducerID] = p
	}
	if h.Transactional() {
		delete(ps.pending, h.ProducerID)
	}
	p.setEpoch(h.ProducerEpoch)
	if m != nil {
		return ps.applyMarker(h, m, p)
	}
	p.add(sentBatch{lastSequence: h.LastSequence(), delta: h.LastOffsetDelta, lastOffset: h.LastOffset(), timestamp: h.MaxTimestamp})
	if h.Transactional() && p.txnFirst < 0 {
		p.txnFirst = h.BaseOffset
		ps.open = append(ps.open, txn{producerID: h.ProducerID, first: h.BaseOffset, last: -1})
	}
	return txn{}, false
}

func (ps *producers) applyMarker(h *batch.Header, m *marker, p *producer) (txn, bool) {
	p.coordinatorEpoch, p.lastTimestamp = m.coordinatorEpoch, m.timestamp
	if p.txnFirst < 0 {
		return txn{}, false
	}
	t := txn{producerID: h.ProducerID, first: p.txnFirst, last: h.BaseOffset, abort: !m.commit}
	p.txnFirst = -1
	ps.open = slices.DeleteFunc(ps.open, func(o txn) bool { return o.first == t.first })
	i, _ := slices.BinarySearchFunc(ps.ended, t.first, func(e txn, first int64) int { return cmp.Compare(e.first, first) })
	ps.ended = slices.Insert(ps.ended, i, t)
	return t, true
}

// lastStable is the last stable offset to be noted with an aborted transaction
// that just ended: where the earliest other open one begins, else past its
// marker.
func (ps *producers) lastStable(t txn) int64 {
	if len(ps.open) > 0 {
		return ps.open[0].first
	}
	return t.last + 1
}

func (t txn) aborted(lastStable int64) index.AbortedTxn {
	return index.AbortedTxn{ProducerID: t.producerID, FirstOffset: t.first, LastOffset: t.last, LastStableOffset: lastStable}
}

// replicated forgets the ended transactions whose markers are below the high
// watermark.
func (ps *producers) replicated(highWatermark int64) {
	if len(ps.ended) > 0 {
		ps.ended = slices.DeleteFunc(ps.ended, func(t txn) bool { return t.last < highWatermark })
	}
}

// firstUnstable is the first offset that is not decided for readers; MaxInt64 if
// all are.
func (ps *producers) firstUnstable() int64 {
	first := int64(math.MaxInt64)
	if len(ps.open) > 0 {
		first = ps.open[0].first
	}
	if len(ps.ended) > 0 {
		first = min(first, ps.ended[0].first)
	}
	return first
}

// expire forgets the producers that have not written for long, and
// verifications that nobody finished.
func (ps *producers) expire(now time.Time) {
	for id, p := range ps.byID {
		if ps.expired(p.txnFirst, p.lastTimestamp, now) {
			delete(ps.byID, id)
		}
	}
	for id, v := range ps.pending {
		if now.Sub(v.started) >= time.Duration(ps.expiration.Load()) {
			delete(ps.pending, id)
		}
	}
}

func (ps *producers) expired(txnFirst, lastTimestamp int64, now time.Time) bool {
	return txnFirst < 0 && now.UnixMilli()-lastTimestamp >= time.Duration(ps.expiration.Load()).Milliseconds()
}

// readMarker reads the record of a control batch; nil if it has none (compaction
// took it) or ends no transaction.
func readMarker(b []byte) (*marker, error) {
	for r, err := range batch.Records(b, nil) {
		if err != nil {
			return nil, err
		}
		commit, epoch, ok, err := batch.ParseMarker(&r)
		if err != nil || !ok {
			return nil, err
		}
		return &marker{commit: commit, coordinatorEpoch: epoch, timestamp: r.Timestamp}, nil
	}
	return nil, nil
}

// Guard permits one transaction's first batch; 0 is none.
type Guard uint64

// StartVerification begins to verify that the producer's transaction really
// includes this partition (KIP-890). It returns 0 if there is no need.
func (l *Log) StartVerification(id kafka.ProducerID, epoch kafka.ProducerEpoch, sequence int32) Guard {
	l.mu.Lock()
	defer l.mu.Unlock()
	ps := l.producers
	if !ps.verify {
		return 0
	}
	if p := ps.byID[int64(id)]; p != nil && p.txnFirst >= 0 && p.epoch == int16(epoch) {
		return 0
	}
	v := ps.pending[int64(id)]
	switch {
	case v == nil:
		ps.lastGuard++
		v = &verification{guard: ps.lastGuard, lowestSequence: sequence, epoch: int16(epoch), started: time.Now()}
		ps.pending[int64(id)] = v
	case int16(epoch) > v.epoch:
		v.epoch, v.lowestSequence = int16(epoch), sequence
	case int16(epoch) == v.epoch:
		v.lowestSequence = min(v.lowestSequence, sequence)
	}
	return v.guard
}

// ProducerState describes a producer that the log knows.
type ProducerState struct {
	ID               kafka.ProducerID
	Epoch            kafka.ProducerEpoch
	LastSequence     int32
	LastTimestamp    int64
	CoordinatorEpoch int32
	// TxnStartOffset is that of the open transaction, -1 if none.
	TxnStartOffset int64
}

// ActiveProducers lists the producers, by id.
func (l *Log) ActiveProducers() []ProducerState {
	l.mu.Lock()
	out := make([]ProducerState, 0, len(l.producers.byID))
	for id, p := range l.producers.byID {
		out = append(out, ProducerState{
			ID: kafka.ProducerID(id), Epoch: kafka.ProducerEpoch(p.epoch), LastSequence: p.lastSequence(), LastTimestamp: p.lastTimestamp,
			CoordinatorEpoch: p.coordinatorEpoch, TxnStartOffset: p.txnFirst,
		})
	}
	l.mu.Unlock()
	slices.SortFunc(out, func(a, b ProducerState) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// ProducerCount is how many producers the log knows: as of the last look where the log
// is busy, be it with a disk that does not answer.
func (l *Log) ProducerCount() int {
	if l.mu.TryLock() {
		l.producerCount.Store(int64(len(l.producers.byID)))
		l.mu.Unlock()
	}
	return int(l.producerCount.Load())
}
