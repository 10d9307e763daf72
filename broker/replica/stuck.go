package replica

import (
	"errors"
	"time"
)

// A write that does not end, on a disk that does not answer, holds its partition's
// lock for ever. Requests for that partition wait with it; what works for all
// partitions must not. So those who do (the watch over followers that lag, the
// census, the workers that move partitions) lock by lockSoon, and when the directory
// is found to be stalled and goes offline, another Partition takes the place of the
// stuck one.

const (
	// soon is how long lockSoon tries: many times what an append takes.
	soon = 50 * time.Millisecond
	// soonStep is its first pause.
	soonStep = 20 * time.Microsecond
)

// errReplaced: another Partition has taken the place of a stuck one.
var errReplaced = errors.New("replica: the partition was stuck, and replaced")

// lockSoon locks the partition unless that takes suspiciously long.
func (p *Partition) lockSoon() bool {
	if p.mu.TryLock() {
		return true
	}
	for pause, waited := soonStep, time.Duration(0); waited < soon; pause *= 2 {
		time.Sleep(pause)
		if p.mu.TryLock() {
			return true
		}
		waited += pause
	}
	return false
}

// lockUnlessReplaced locks the partition, and gives up when another has taken its
// place.
func (p *Partition) lockUnlessReplaced() bool {
	for !p.lockSoon() {
		if p.m.Partition(p.tp) != p {
			return false
		}
	}
	return true
}

// replace puts a partition without a log in the place of one that is stuck. It
// reports whether the coordinators must be told.
func (m *Manager) replace(p *Partition, s *seen, err error) (tell bool) {
	twin := newPartition(p.tp, m)
	twin.readers, twin.copiers = p.readers, p.copiers // p's lock can't be had to tell them
	twin.mu.Lock()
	defer twin.unlock()
	twin.setLocked(nil, err, s.state)
	twin.announced = s.state.Leader == m.self
	tell = twin.failedLocked()
	// Who waits may look at other partitions that are stuck, too: they find out when
	// their time is over.
	twin.woken = nil
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.partitions[p.tp] != p {
		return false
	}
	m.partitions[p.tp] = twin
	return tell
}
