package replica

import (
	"errors"
	"path"
	"slices"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/log"
)

// isNew reports whether a replica with this state can't have been here before this
// process, so that no records of it can be lost: what this process made, package log
// knows. A registration that was lost and made again does not change that: the disk
// may have been full ever since. A leader epoch of 0 does not say so: it stays where
// the other replica leads from the first day.
func (m *Manager) isNew(s *State) bool {
	return s.Created > m.born.Load() || s.Assigned
}

// assigned reports whether a reassignment has brought a replica to this broker
// after its present registration.
func (m *Manager) assigned(t *cluster.Topic, p *cluster.Partition) bool {
	return slices.Contains(p.Adding, m.self) && !slices.Contains(p.ISR, m.self) && t.Zxid > m.registration.Load()
}

// Unavailable is a replica that this broker can't serve.
type Unavailable struct {
	TP      kafka.TopicPartition
	TopicID kafka.TopicID
	Err     error
}

// Unavailable lists the replicas that an image assigns to this broker and that it
// can't serve: their log directory failed, their log is still being checked, or it
// is missing. It does not wait for a disk.
func (m *Manager) Unavailable(im *cluster.Image) []Unavailable {
	var out []Unavailable
	for t := range im.Topics() {
		for i, p := range t.Partitions {
			if p == nil || !p.HasState || !slices.Contains(p.Replicas, m.self) {
				continue
			}
			tp := kafka.TopicPartition{Topic: t.Name, Partition: int32(i)}
			if err := m.unavailable(tp, t, p); err != nil {
				out = append(out, Unavailable{tp, t.ID, err})
			}
		}
	}
	return out
}

// Settle notes which replicas that an image assigns to this broker are missing, and
// lets the log directories say from now on that nothing else is: before this, that
// one of them is new, or was taken away, speaks of each (log.Manager.Settle). Where
// that can't be written the next start finds the same.
func (m *Manager) Settle(im *cluster.Image) {
	for _, u := range m.Unavailable(im) {
		if errors.Is(u.Err, log.ErrMissing) {
			m.logs.NoteMissing(u.TP, u.TopicID)
		}
	}
	if err := m.logs.Settle(); err != nil {
		m.logger.Warn("which logs are missing could not be settled; the next start looks again", "error", err)
	}
}

func (m *Manager) unavailable(tp kafka.TopicPartition, t *cluster.Topic, want *cluster.Partition) error {
	if p := m.Partition(tp); p != nil {
		if s := p.seen.Load(); s != nil && s.state.TopicID == t.ID {
			if s.failure != nil {
				return s.failure
			}
			return s.log.Failure()
		}
	}
	// It was not moved yet: what will be found? A new one will be made.
	if s := (State{Created: want.Created, Assigned: m.assigned(t, want)}); m.isNew(&s) {
		if err := m.logs.Opening(tp); errors.Is(err, log.ErrOpening) {
			return err
		}
		return nil
	}
	err := m.logs.Absent(tp, t.ID)
	if errors.Is(err, log.ErrMissing) && !slices.Contains(want.ISR, m.self) {
		return nil
	}
	return err
}

// DirFailed gives up the partitions whose logs are in a directory that failed. New
// states of them are taken and answered with the failure.
func (m *Manager) DirFailed(dir string, err error) {
	for _, p := range m.all() {
		s := p.seen.Load()
		if s == nil || s.log == nil || path.Dir(s.log.Dir()) != dir {
			continue
		}
		epoch, tell, stuck := p.dirFailed(dir, err)
		if stuck {
			tell = m.replace(p, s, err)
		}
		if tell {
			m.onLeadership(p.tp, false, epoch)
		}
		m.onFollow(Following{TP: p.tp}, false)
		if !stuck {
			m.wake(p.tp)
		}
	}
	m.onOffline()
}

// dirFailed leaves the partition without its log, unless it has another by now.
// stuck: somebody holds the partition in a write that does not end.
func (p *Partition) dirFailed(dir string, err error) (epoch kafka.LeaderEpoch, tell, stuck bool) {
	if !p.lockSoon() {
		return p.seen.Load().state.LeaderEpoch, true, true
	}
	defer p.unlock()
	if p.log == nil || path.Dir(p.log.Dir()) != dir {
		return p.state.LeaderEpoch, false, false
	}
	p.setLocked(nil, err, p.state)
	return p.state.LeaderEpoch, p.failedLocked(), false
}
