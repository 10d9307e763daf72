package log

import (
	"cmp"
	"slices"
	"time"

	"barnabas/internal/kafka"
	"barnabas/log/checkpoint"
)

// crowded is how many producers a snapshot tells of with all their batches. Of more
// only the last batch of each is told, so that a roll, which writes one while appends
// wait, is not five times as long where it is long already.
const crowded = 100_000

// entries is the content of a snapshot, by producer id: an entry for each batch of a
// producer that is remembered, oldest first.
//
// Apache Kafka writes the last of them only, and takes the last of several that it
// reads; so whoever leads after a restart here still knows all batches that a producer
// may have in doubt. It passes over entries that have expired before it takes one: an
// older one must never outlive the last, and is no part of a transaction.
func (ps *producers) entries() []checkpoint.Producer {
	ids := make([]int64, 0, len(ps.byID))
	n := 0
	for id, p := range ps.byID {
		ids = append(ids, id)
		n += int(max(p.n, 1))
	}
	slices.Sort(ids)
	all := len(ids) <= crowded
	if !all {
		n = len(ids)
	}
	out := make([]checkpoint.Producer, 0, n)
	for _, id := range ids {
		p := ps.byID[id]
		e := checkpoint.Producer{
			ID: kafka.ProducerID(id), Epoch: kafka.ProducerEpoch(p.epoch), LastSequence: -1, LastOffset: -1,
			CoordinatorEpoch: p.coordinatorEpoch, TxnFirstOffset: -1,
		}
		sent := p.sent[:p.n]
		if !all {
			sent = sent[max(p.n-1, 0):]
		}
		for i, b := range sent {
			e.LastSequence, e.LastOffset, e.OffsetDelta = b.lastSequence, b.lastOffset, b.delta
			if i < len(sent)-1 {
				e.LastTimestamp = min(b.timestamp, p.lastTimestamp)
				out = append(out, e)
			}
		}
		e.LastTimestamp, e.TxnFirstOffset = p.lastTimestamp, p.txnFirst
		out = append(out, e)
	}
	return out
}

// load replaces the state by a snapshot's. Of several entries of a producer those of
// the last one's epoch are its batches, in their order. Producers that have expired,
// by the time of their records, are left out.
func (ps *producers) load(entries []checkpoint.Producer, offset int64, now time.Time) {
	clear(ps.byID)
	ps.open, ps.ended = nil, nil
	ps.next, ps.snapshot = offset, offset
	for i := range entries {
		e := &entries[i]
		p := ps.byID[int64(e.ID)]
		if p == nil {
			p = &producer{}
			ps.byID[int64(e.ID)] = p
		}
		p.restore(e)
	}
	for id, p := range ps.byID {
		switch {
		case ps.expired(p.txnFirst, p.lastTimestamp, now):
			delete(ps.byID, id)
		case p.txnFirst >= 0:
			ps.open = append(ps.open, txn{producerID: id, first: p.txnFirst, last: -1})
		}
	}
	slices.SortFunc(ps.open, func(a, b txn) int { return cmp.Compare(a.first, b.first) })
}

// restore takes an entry of a snapshot over.
func (p *producer) restore(e *checkpoint.Producer) {
	p.setEpoch(int16(e.Epoch))
	b := sentBatch{lastSequence: e.LastSequence, delta: e.OffsetDelta, lastOffset: e.LastOffset, timestamp: e.LastTimestamp}
	if p.n > 0 && b.lastOffset <= p.sent[p.n-1].lastOffset {
		p.n = 0 // not as entries writes them: the last one counts
	}
	if b.lastOffset >= 0 {
		p.add(b)
	}
	p.coordinatorEpoch, p.lastTimestamp, p.txnFirst = e.CoordinatorEpoch, e.LastTimestamp, e.TxnFirstOffset
}
