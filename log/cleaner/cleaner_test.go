package cleaner

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"barnabas/log/batch"
)

func TestMap(t *testing.T) {
	m := NewMap(1<<20, 0.9)
	want := map[string]int64{}
	for i := range int64(20_000) {
		key := fmt.Sprint("key-", i%7919)
		if !m.Put([]byte(key), i) {
			t.Fatalf("full with %d keys of %d bytes", m.Len(), m.Bytes())
		}
		want[key] = i
	}
	if m.Len() != len(want) || m.Latest() != 19_999 || m.Bytes() > 1<<20 {
		t.Errorf("%d keys to %d in %d bytes", m.Len(), m.Latest(), m.Bytes())
	}
	for k, o := range want {
		if got := m.Get([]byte(k)); got != o {
			t.Fatalf("%s: %d, want %d", k, got, o)
		}
	}
	if got := m.Get([]byte("none")); got != -1 {
		t.Errorf("a key that is not there: %d", got)
	}
	m.Put([]byte("key-1"), 3) // an older one
	if got := m.Get([]byte("key-1")); got != want["key-1"] {
		t.Errorf("went back to %d", got)
	}
}

// TestMapIsBounded: it refuses new keys when it is full, and still takes known ones.
func TestMapIsBounded(t *testing.T) {
	const most = 200_000
	m := NewMap(most, 0.9)
	n := int64(0)
	for m.Put(fmt.Append(nil, n), n) {
		n++
	}
	if m.Bytes() > most || n < most/slotBytes/3 {
		t.Errorf("%d keys in %d bytes", n, m.Bytes())
	}
	if !m.Put(fmt.Append(nil, 5), n) || m.Get(fmt.Append(nil, 5)) != n {
		t.Error("a known key was refused")
	}
	m.Reset()
	if m.Len() != 0 || m.Latest() != -1 || m.Get(fmt.Append(nil, 5)) != -1 {
		t.Error("not empty after Reset")
	}
}

func header(id, offset int64, control bool) *batch.Header {
	h := &batch.Header{BaseOffset: offset, ProducerID: id, Attributes: batch.AttrTransactional, Magic: 2}
	if control {
		h.Attributes |= batch.AttrControl
	}
	return h
}

func TestTxns(t *testing.T) {
	x := NewTxns()
	lost := Aborted{ProducerID: 1, FirstOffset: 10, LastOffset: 20}
	gone := Aborted{ProducerID: 2, FirstOffset: 11, LastOffset: 21}
	x.Add([]Aborted{lost, gone})
	if x.Data(header(1, 9, false)) {
		t.Error("data before the transaction is aborted")
	}
	if !x.Data(header(1, 10, false)) || x.Data(header(3, 12, false)) {
		t.Error("data of producer 1 is not, or of 3 is aborted")
	}
	x.Add([]Aborted{lost, gone}) // again, as it reaches into the next segment
	if spent, txn := x.Marker(header(1, 20, true), batch.ControlAbort, true); spent || txn == nil || *txn != lost {
		t.Errorf("marker of a transaction whose data were met: spent %v, keeps %v", spent, txn)
	}
	if spent, txn := x.Marker(header(2, 21, true), batch.ControlAbort, true); !spent || txn != nil {
		t.Errorf("marker of a transaction without data: spent %v, keeps %v", spent, txn)
	}
	if spent, _ := x.Marker(header(3, 22, true), batch.ControlCommit, true); spent {
		t.Error("marker of a committed transaction whose data were met is spent")
	}
	if spent, _ := x.Marker(header(3, 30, true), batch.ControlCommit, true); !spent {
		t.Error("a second marker, without data, is not spent")
	}
	if x.Data(header(1, 23, false)) {
		t.Error("data after the marker is aborted")
	}
	if spent, _ := x.Marker(header(1, 24, true), -1, true); spent {
		t.Error("a control record of an unknown kind is spent")
	}
	if spent, _ := x.Marker(header(1, 25, true), 0, false); !spent {
		t.Error("an emptied marker is not spent")
	}
}

func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var th Throttle
		ctx := t.Context()
		began := time.Now()
		for range 1000 {
			th.Spend(ctx, 1<<20)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("waited %v without a bound", took)
		}
		th.SetRate(1 << 20)
		for range 20 {
			th.Spend(ctx, 1<<19)
		}
		if took := time.Since(began); took < 9*time.Second || took > 11*time.Second {
			t.Errorf("10 MiB at 1 MiB/s took %v", took)
		}
		ended, cancel := context.WithCancel(ctx)
		cancel()
		if err := th.Spend(ended, 1<<30); err == nil {
			t.Error("a context that has ended gives no error")
		}
	})
}

func BenchmarkMapPut(b *testing.B) {
	keys := make([][]byte, 1<<16)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "customer-%08d", i)
	}
	m := NewMap(128<<20, 0.9)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		m.Put(keys[i&(len(keys)-1)], int64(i))
		i++
	}
}
