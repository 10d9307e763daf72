package log

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"barnabas/internal/kafka"
	"barnabas/log/batch"
	"barnabas/log/checkpoint"
)

const day = 24 * time.Hour

func producersOf(expiration time.Duration) *producers {
	return newProducers(&OpenOptions{ProducerIDExpiration: expiration}, 0)
}

// writeSome applies batches and markers of a few producers, whose timestamps go back
// and forth around now as clients like.
func writeSome(ps *producers, rnd *rand.Rand, now time.Time) {
	sequences, epochs := map[int64]int32{}, map[int64]int16{}
	for range rnd.IntN(60) {
		id := rnd.Int64N(6)
		ts := now.Add(-time.Duration(rnd.Int64N(int64(2 * day)))).UnixMilli()
		h := batch.Header{BaseOffset: ps.next, ProducerID: id, MaxTimestamp: ts}
		if id >= 4 {
			h.Attributes |= batch.AttrTransactional
		}
		if rnd.IntN(10) == 0 {
			epochs[id]++
			sequences[id] = 0
		}
		h.ProducerEpoch = epochs[id]
		if id >= 4 && rnd.IntN(4) == 0 {
			h.Attributes |= batch.AttrControl
			ps.apply(&h, &marker{commit: true, coordinatorEpoch: rnd.Int32N(3), timestamp: ts})
			continue
		}
		h.BaseSequence, h.LastOffsetDelta = sequences[id], rnd.Int32N(3)
		sequences[id] += h.LastOffsetDelta + 1
		ps.apply(&h, nil)
	}
}

// asKafka reads a snapshot as ProducerStateManager of 3.9 does (loadFromSnapshot):
// what has expired is passed over, then each entry takes the place of the one before.
func asKafka(entries []checkpoint.Producer, expiration time.Duration, now time.Time) (map[kafka.ProducerID]checkpoint.Producer, map[int64]kafka.ProducerID) {
	byID, open := map[kafka.ProducerID]checkpoint.Producer{}, map[int64]kafka.ProducerID{}
	for _, e := range entries {
		if e.TxnFirstOffset < 0 && now.UnixMilli()-e.LastTimestamp >= expiration.Milliseconds() {
			continue
		}
		byID[e.ID] = e
		if e.TxnFirstOffset >= 0 {
			open[e.TxnFirstOffset] = e.ID
		}
	}
	return byID, open
}

// TestSnapshotForKafka: from a snapshot with all batches Apache Kafka learns what it
// would from its own, which has the last one of each producer.
func TestSnapshotForKafka(t *testing.T) {
	now := time.Now()
	several := 0
	for seed := range uint64(300) {
		ps := producersOf(day)
		writeSome(ps, rand.New(rand.NewPCG(seed, 0)), now)
		all := ps.entries()
		var last []checkpoint.Producer
		for i, e := range all {
			if i == len(all)-1 || all[i+1].ID != e.ID {
				last = append(last, e)
			}
		}
		if len(last) != len(ps.byID) {
			t.Fatalf("seed %d: %d producers in the snapshot, want %d", seed, len(last), len(ps.byID))
		}
		several += len(all) - len(last)
		got, gotOpen := asKafka(all, day, now)
		want, wantOpen := asKafka(last, day, now)
		if diff := cmp.Diff(want, got) + cmp.Diff(wantOpen, gotOpen); diff != "" {
			t.Fatalf("seed %d (-of the last entries +of all):\n%s", seed, diff)
		}
	}
	if several < 1000 {
		t.Errorf("%d older batches in all snapshots", several)
	}
}

// TestSnapshotKeepsBatches: whoever loads a snapshot knows each batch that its writer
// knew, and of one of Apache Kafka's the last.
func TestSnapshotKeepsBatches(t *testing.T) {
	now := time.Now()
	for seed := range uint64(300) {
		ps, loaded := producersOf(1000*day), producersOf(1000*day)
		writeSome(ps, rand.New(rand.NewPCG(seed, 0)), now)
		loaded.load(ps.entries(), ps.next, now)
		if len(loaded.byID) != len(ps.byID) {
			t.Fatalf("seed %d: %d producers, want %d", seed, len(loaded.byID), len(ps.byID))
		}
		for id, p := range ps.byID {
			q := loaded.byID[id]
			for i := range p.n {
				// Of timestamps only the newest counts.
				q.sent[i].timestamp = p.sent[i].timestamp
			}
			if got, want := q.sent[:q.n], p.sent[:p.n]; !slices.Equal(got, want) {
				t.Fatalf("seed %d: producer %d has %+v, want %+v", seed, id, got, want)
			}
			got, want := *q, *p
			got.sent, want.sent = [cachedBatches]sentBatch{}, [cachedBatches]sentBatch{}
			if got != want {
				t.Fatalf("seed %d: producer %d is %+v, want %+v", seed, id, got, want)
			}
		}
		if !slices.Equal(loaded.open, ps.open) {
			t.Fatalf("seed %d: open %v, want %v", seed, loaded.open, ps.open)
		}
	}
}

// TestSnapshotInCrowd: of very many producers a snapshot tells the last batch only.
func TestSnapshotInCrowd(t *testing.T) {
	ps := producersOf(day)
	for sequence := range int32(2) {
		for id := range int64(crowded + 1) {
			h := batch.Header{BaseOffset: ps.next, ProducerID: id, BaseSequence: sequence}
			ps.apply(&h, nil)
		}
	}
	entries := ps.entries()
	if len(entries) != crowded+1 || entries[7].ID != 7 || entries[7].LastSequence != 1 || cap(entries) != len(entries) {
		t.Errorf("%d entries (room for %d) of %d producers, one of them %+v", len(entries), cap(entries), crowded+1, entries[7])
	}
	delete(ps.byID, 0)
	if got := len(ps.entries()); got != 2*crowded {
		t.Errorf("%d entries of %d producers with two batches each", got, crowded)
	}
}

// FuzzLoadSnapshot: whatever the entries of a snapshot say, what was made of them is
// written and read again as it is. Each is seven bytes here, so that they often tell
// of one producer.
func FuzzLoadSnapshot(f *testing.F) {
	f.Add([]byte{1, 0, 5, 5, 0, 9, 0xff, 1, 0, 6, 6, 0, 8, 0xff, 2, 1, 7, 7, 0, 7, 7})
	f.Add([]byte{1, 0, 5, 5, 0, 9, 3, 2, 0, 1, 1, 0, 9, 0xff, 1, 0, 3, 3, 0, 9, 0xff, 1, 1, 0xff, 0xff, 0, 9, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		now := time.UnixMilli(1_700_000_000_000)
		var entries []checkpoint.Producer
		for ; len(b) >= 7; b = b[7:] {
			entries = append(entries, checkpoint.Producer{
				ID: kafka.ProducerID(b[0]), Epoch: kafka.ProducerEpoch(int8(b[1])), LastSequence: int32(int8(b[2])), LastOffset: int64(int8(b[3])),
				OffsetDelta: int32(int8(b[4])), LastTimestamp: now.Add(-time.Duration(b[5]) * time.Hour).UnixMilli(), TxnFirstOffset: int64(int8(b[6])),
			})
		}
		ps, again := producersOf(day), producersOf(day)
		ps.load(entries, 0, now)
		written := ps.entries()
		again.load(written, 0, now)
		if diff := cmp.Diff(written, again.entries()); diff != "" {
			t.Fatalf("(-first +second)\n%s", diff)
		}
		if len(ps.open) != len(again.open) {
			t.Fatalf("open %v, then %v", ps.open, again.open)
		}
	})
}
