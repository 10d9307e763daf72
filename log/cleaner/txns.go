package cleaner

import (
	"cmp"
	"slices"

	"barnabas/log/batch"
)

// Txns follows transactions through the batches of a log in their order
// (kafka.log.CleanedTransactionMetadata): data of aborted ones may go at once, a
// marker when no data of its transaction was met any more. Everything it is shown
// lies below the last stable offset.
type Txns struct {
	pending   []Aborted // not begun yet, by first offset
	aborted   map[int64]*abortedTxn
	committed map[int64]bool
}

// Aborted is an aborted transaction, as the index of a segment has it
// (index.AbortedTxn).
type Aborted struct{ ProducerID, FirstOffset, LastOffset, LastStableOffset int64 }

type abortedTxn struct {
	txn  Aborted
	seen bool // data of it is still there
}

// NewTxns knows no transaction.
func NewTxns() *Txns { return &Txns{aborted: map[int64]*abortedTxn{}, committed: map[int64]bool{}} }

// Add announces aborted transactions whose data come in batches to follow.
func (t *Txns) Add(list []Aborted) {
	t.pending = append(t.pending, list...)
	slices.SortFunc(t.pending, func(a, b Aborted) int {
		return cmp.Or(cmp.Compare(a.FirstOffset, b.FirstOffset), cmp.Compare(a.LastOffset, b.LastOffset))
	})
	t.pending = slices.Compact(t.pending)
}

// Data tells whether a batch that is no marker belongs to an aborted transaction.
func (t *Txns) Data(h *batch.Header) (aborted bool) {
	t.begin(h.LastOffset())
	if !h.Transactional() {
		return false
	}
	if a := t.aborted[h.ProducerID]; a != nil {
		a.seen = true
		return true
	}
	t.committed[h.ProducerID] = true
	return false
}

// Marker tells whether no data of the transaction that a marker ends was met, so
// that the marker may go in time. kind is of its record; ok is false if it has
// none. kept is the transaction that the index of what is left must list.
func (t *Txns) Marker(h *batch.Header, kind batch.ControlType, ok bool) (spent bool, kept *Aborted) {
	t.begin(h.LastOffset())
	if !ok {
		return true, nil // compaction has emptied it
	}
	switch kind {
	case batch.ControlAbort:
		a := t.aborted[h.ProducerID]
		delete(t.aborted, h.ProducerID)
		if a != nil && a.seen {
			return false, &a.txn
		}
		return true, nil
	case batch.ControlCommit:
		seen := t.committed[h.ProducerID]
		delete(t.committed, h.ProducerID)
		return !seen, nil
	}
	return false, nil
}

// begin takes up the transactions that have begun at or before offset.
func (t *Txns) begin(offset int64) {
	n := 0
	for n < len(t.pending) && t.pending[n].FirstOffset <= offset {
		// It is announced with each segment that it reaches into.
		if a := t.aborted[t.pending[n].ProducerID]; a == nil || a.txn != t.pending[n] {
			t.aborted[t.pending[n].ProducerID] = &abortedTxn{txn: t.pending[n]}
		}
		n++
	}
	t.pending = t.pending[n:]
}
