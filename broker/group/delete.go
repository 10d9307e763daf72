package group

import (
	"context"
	"time"

	"barnabas/internal/kafka"
	"barnabas/protocol"
	"barnabas/protocol/grouplog"
)

// OffsetDeletion asks to forget what a group has committed for a partition.
type OffsetDeletion struct {
	kafka.TopicPartition
	// Err, set by the caller (unknown partition), keeps this one out; after the
	// call it is the outcome.
	Err protocol.Error
}

// Delete ends a group without members; the offsets whose records need a
// tombstone are returned, among them those of commits in flight, whose records
// come first (GroupCoordinator.handleDeleteGroups).
func (m *Machine) Delete(now time.Time) (gone []kafka.TopicPartition, tombstone bool, err protocol.Error) {
	switch m.state {
	case Dead:
		return nil, false, errGroupNotFound
	case Empty:
	default:
		return nil, false, errNonEmpty
	}
	for tp := range m.offsets.pending {
		if _, is := m.offsets.stable[tp]; !is {
			gone = append(gone, tp)
		}
	}
	for tp := range m.offsets.stable {
		gone = append(gone, tp)
	}
	tombstone = m.generation > 0
	m.forgotten = forgotten{offsets{stable: m.offsets.stable, open: m.offsets.open}, m.since}
	m.offsets.stable, m.offsets.open = nil, nil
	clear(m.pending)
	clear(m.writes)
	gone, _ = m.buried(now, gone)
	m.enter(Dead, now)
	return gone, tombstone, ok
}

// DeleteOffsets forgets offsets, if nobody consumes their topics; the outcome of
// each is its Err. A group that then holds nothing is Dead
// (GroupCoordinator.handleDeleteOffsets, KIP-496).
func (m *Machine) DeleteOffsets(now time.Time, of []OffsetDeletion) (gone []kafka.TopicPartition, tombstone bool, err protocol.Error) {
	switch {
	case m.state == Dead:
		return nil, false, errGroupNotFound
	case m.state != Empty && m.protocolType != grouplog.ConsumerProtocol:
		return nil, false, errNonEmpty
	}
	m.forgotten = forgotten{since: m.since}
	for i := range of {
		d := &of[i]
		if d.Err != ok {
			continue
		}
		if m.state != Empty && m.consumes(d.Topic) {
			d.Err = errSubscribed
			continue
		}
		if c, is := m.offsets.stable[d.TopicPartition]; is {
			m.forgotten.put(d.TopicPartition, c)
			gone = append(gone, d.TopicPartition)
			delete(m.offsets.stable, d.TopicPartition)
		}
	}
	if len(gone) == 0 {
		return nil, false, ok
	}
	gone, tombstone = m.buried(now, gone)
	return gone, tombstone, ok
}

// consumes reports whether a member may read the topic.
func (m *Machine) consumes(topic string) bool {
	if m.subscribed == nil {
		return true
	}
	_, is := m.subscribed[topic]
	return is
}

// Delete ends groups and blocks until in-sync replicas know; the outcomes are in
// the order of the names. If ctx ends first the outcome is unknown and
// UNKNOWN_SERVER_ERROR.
func (c *Coordinator) Delete(ctx context.Context, groups []string) []protocol.Error {
	out := make([]protocol.Error, len(groups))
	waits := make([]chan error, len(groups))
	for i, name := range groups {
		out[i], waits[i] = c.delete(name)
	}
	for i, w := range waits {
		if w != nil {
			out[i] = awaitStored(ctx, w)
		}
		if out[i] == ok {
			c.log.Info("consumer group was deleted", "group", groups[i])
		}
	}
	return out
}

// delete ends one group; the channel, if there is one, gets the outcome.
func (c *Coordinator) delete(group string) (err protocol.Error, stored chan error) {
	g, err := c.forDeletion(group)
	if err != ok {
		return err, nil
	}
	stored = make(chan error, 1)
	n := 0
	g.forgetLocked(func(m *Machine, now time.Time) (gone []kafka.TopicPartition, tombstone bool) {
		if gone, tombstone, err = m.Delete(now); len(gone) > 0 || tombstone {
			n++
		}
		return gone, tombstone
	}, true, func(err error) { stored <- err })
	if n == 0 {
		return err, nil // nothing of it was ever stored
	}
	return ok, stored
}

// DeleteOffsets forgets offsets of a group and blocks until in-sync replicas
// know. The outcome of each is its Err, unless the whole is refused.
func (c *Coordinator) DeleteOffsets(ctx context.Context, group string, of []OffsetDeletion) protocol.Error {
	if group == "" {
		return errInvalidGroupID
	}
	g, err := c.forDeletion(group)
	if err != ok {
		return err
	}
	stored := make(chan error, 1)
	n := g.forgetLocked(func(m *Machine, now time.Time) (gone []kafka.TopicPartition, tombstone bool) {
		gone, tombstone, err = m.DeleteOffsets(now, of)
		return gone, tombstone
	}, true, func(err error) { stored <- err })
	if err != ok || n == 0 {
		return err
	}
	code := awaitStored(ctx, stored)
	if code == ok {
		c.log.Info("offsets of a consumer group were deleted", "group", group, "offsets", n)
	}
	for i := range of {
		if of[i].Err == ok {
			of[i].Err = code
		}
	}
	return ok
}

// forDeletion finds a group and returns it locked.
func (c *Coordinator) forDeletion(group string) (*instance, protocol.Error) {
	if !grouplog.FitsString(group) {
		return nil, errInvalidGroupID
	}
	g, err := c.lock(group, false)
	if err == ok && g == nil {
		err = errGroupNotFound
	}
	return g, err
}

func awaitStored(ctx context.Context, stored <-chan error) protocol.Error {
	select {
	case err := <-stored:
		return commitStoreError(err)
	case <-ctx.Done():
		return errUnknownServer
	}
}
