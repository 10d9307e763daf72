package group

import (
	"bytes"
	"cmp"
	"context"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"barnabas/internal/kafka"
	"barnabas/log/batch"
	"barnabas/protocol"
	"barnabas/protocol/grouplog"
)

// memStore keeps partitions in memory.
type memStore struct {
	mu sync.Mutex // guards all
	// lag is how long replicas need.
	lag time.Duration
	// fail, if set, is what appends fail with; lost what replication ends with.
	fail, lost error
	// failOnce is what the next append fails with.
	failOnce error
	// hold and unsettled, if set, keep Read and Settled waiting until they are closed.
	hold, unsettled chan struct{}
	epoch           map[int32]kafka.LeaderEpoch
	logs            map[int32][][]byte
	next            map[int32]int64
	reads           int
}

func newMemStore() *memStore {
	return &memStore{epoch: map[int32]kafka.LeaderEpoch{}, logs: map[int32][][]byte{}, next: map[int32]int64{}}
}

func (s *memStore) Append(p int32, epoch kafka.LeaderEpoch, b []byte, timeout time.Duration, done func(error)) (int64, error) {
	s.mu.Lock()
	if current, set := s.epoch[p]; set && current != epoch {
		s.mu.Unlock()
		return 0, protocol.NotLeaderOrFollower
	}
	if err := cmp.Or(s.failOnce, s.fail); err != nil {
		s.failOnce = nil
		s.mu.Unlock()
		return 0, err
	}
	base := s.next[p]
	own := bytes.Clone(b)
	batch.SetOffset(own, base)
	h, err := batch.ParseHeader(own)
	if err != nil {
		panic(err)
	}
	s.logs[p] = append(s.logs[p], own)
	s.next[p] = base + int64(h.Count)
	lag, lost := s.lag, s.lost
	s.mu.Unlock()
	switch {
	case done == nil:
	case lag == 0:
		done(lost)
	default:
		time.AfterFunc(min(lag, timeout), func() {
			if lag > timeout {
				lost = protocol.RequestTimedOut
			}
			done(lost)
		})
	}
	return base, nil
}

func (s *memStore) Read(ctx context.Context, p int32, fn func([]byte) error) error {
	s.mu.Lock()
	s.reads++
	hold, err := s.hold, s.fail
	all := s.logs[p]
	s.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err != nil {
		return err
	}
	for _, b := range all {
		if err := fn(b); err != nil {
			return err
		}
	}
	return nil
}

func (s *memStore) set(f func(s *memStore)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

// headers are those of the batches of a partition.
func (s *memStore) headers(p int32) []batch.Header {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []batch.Header
	for _, b := range s.logs[p] {
		h, _ := batch.ParseHeader(b)
		out = append(out, h)
	}
	return out
}

// texts are the records of a partition in dump-log's form.
func (s *memStore) texts(p int32) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, b := range s.logs[p] {
		for r, err := range batch.Records(b, nil) {
			if err != nil {
				panic(err)
			}
			k, v := grouplog.DumpText(r.Offset, r.Key, r.Value)
			out = append(out, k+" "+v)
		}
	}
	return out
}

// start makes a coordinator of a single partition in which all groups are.
func start(t testing.TB, s *memStore, cfg Config) *Coordinator {
	t.Helper()
	c, err := New(Options{Store: s, Partitions: func() int32 { return 1 }, Config: cfg, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// batches splits a segment file that Apache Kafka wrote.
func batches(t testing.TB, name string) [][]byte {
	t.Helper()
	b, err := os.ReadFile("../../protocol/grouplog/testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	for len(b) > 0 {
		h, err := batch.ParseHeader(b)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, b[:h.Size()])
		b = b[h.Size():]
	}
	return out
}

func (s *memStore) Settled(ctx context.Context, _ int32) error {
	s.mu.Lock()
	wait := s.unsettled
	s.mu.Unlock()
	if wait == nil {
		return nil
	}
	select {
	case <-wait:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
