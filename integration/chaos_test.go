//go:build integration

package integration

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

var killCount = flag.Int("kills", kills, "how often TestKillsAtAnyMoment kills the broker")

// TestKillsAtAnyMoment kills the broker at random moments, some of them while it
// starts, under idempotent producers and a group that commits. Besides
// TestKillUnderLoad's laws: a kill between the recording of the session and the
// registration leaves proof enough for the next start.
func TestKillsAtAnyMoment(t *testing.T) {
	b := newBroker(t, longSession, "log.segment.bytes=65536", "num.partitions=4")
	createTopic(t, b, "load", 6)
	r := startReader(b, "load", "team")
	l := startLoad(b, "load", 8)
	l.progress(t, 500, patience, "at first")
	l.lap()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	var gaps []time.Duration
	for n := range *killCount {
		b.proc.Kill()
		b.start()
		for early := rng.IntN(3); early > 0; early-- { // a start that is killed too
			timer := time.NewTimer(time.Duration(rng.IntN(120)) * time.Millisecond)
			<-timer.C
			b.proc.Kill()
			b.start()
		}
		started := time.Now()
		l.progress(t, 200+rng.IntN(300), patience, "after a kill")
		gaps = append(gaps, l.lap())
		if g := gaps[n]; g > time.Second {
			t.Logf("kill %d: a gap of %v, %v of it after the last start", n, g, time.Since(started))
		}
	}
	slices.Sort(gaps)
	at := func(q float64) time.Duration { return gaps[int(q*float64(len(gaps)-1))].Round(time.Millisecond) }
	t.Logf("%d kills, %d acknowledged; gaps: p50 %v p90 %v p99 %v max %v", len(gaps), l.count(), at(.5), at(.9), at(.99), at(1))
	if at(1) > longestGap {
		t.Errorf("the longest gap was %v", at(1))
	}
	want := l.count()
	eventually(t, patience, "the group has read all", func() error {
		if _, distinct, _ := r.state(); distinct < want {
			return fmt.Errorf("%d of %d", distinct, want)
		}
		return nil
	})
	r.leave()
	_, distinct, total := r.state()
	t.Logf("the group read %d records %d times", distinct, total)
	l.end(t, b, "load", 6)
}

// TestStopUnderLoad: SIGTERM while producers write is quick and clean, and
// producers see no more than a retry.
func TestStopUnderLoad(t *testing.T) {
	b := newBroker(t)
	createTopic(t, b, "load", 6)
	r := startReader(b, "load", "team")
	l := startLoad(b, "load", 8)
	l.progress(t, 500, patience, "at first")
	quickest := time.Hour // of all: any one may meet a busy machine
	for range 5 {
		l.lap()
		begin := time.Now()
		b.stop()
		took := time.Since(begin)
		if _, err := os.Stat(filepath.Join(b.dir, "data", ".kafka_cleanshutdown")); err != nil {
			t.Errorf("no clean marker: %v", err)
		}
		b.start()
		l.progress(t, 500, patience, "after a stop")
		t.Logf("SIGTERM took %v, longest gap %v", took, l.lap())
		quickest = min(quickest, took)
	}
	if quickest > 3*time.Second {
		t.Errorf("SIGTERM took %v at least", quickest)
	}
	r.leave()
	l.end(t, b, "load", 6)
}
