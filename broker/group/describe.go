package group

import (
	"time"

	"barnabas/protocol/grouplog"
)

// Describe tells about the group. What members sent and got is shown only while
// the group is stable.
func (m *Machine) Describe() Description {
	d := Description{Group: m.id, State: m.state.String(), ProtocolType: m.protocolType}
	if m.state == Dead {
		return deadDescription(m.id)
	}
	stable := m.state == Stable && m.protocol != nil
	if stable {
		d.Protocol = *m.protocol
	}
	for _, p := range m.order {
		q := DescribedMember{MemberID: p.id, InstanceID: p.instance, ClientID: p.clientID, ClientHost: p.clientHost}
		if stable {
			q.Metadata, q.Assignment = p.metadata(*m.protocol), p.assignment
		}
		d.Members = append(d.Members, q)
	}
	return d
}

// deadDescription is what is said of groups that don't exist.
func deadDescription(id string) Description {
	return Description{Group: id, State: Dead.String()}
}

// List is the group's line in a listing.
func (m *Machine) List() Listed { return Listed{m.id, m.protocolType, m.state} }

// Restore makes a group of its record; offsets are added by restoreOffset and
// the like. Members have their sessions restarted by Loaded.
func Restore(id string, l Limits, v *grouplog.GroupValue, now time.Time) *Machine {
	m := NewMachine(id, l, now)
	m.since = time.Time{}
	if v == nil {
		return m
	}
	if v.StateTimestamp != grouplog.NoTimestamp {
		m.since = time.UnixMilli(v.StateTimestamp)
	}
	m.generation, m.protocol = v.Generation, v.Protocol
	m.protocolType = v.ProtocolType
	for i := range v.Members {
		r := &v.Members[i]
		if m.members[r.MemberID] != nil || r.InstanceID != nil && m.static[*r.InstanceID] != "" {
			continue // no coordinator writes that; what came first counts
		}
		p := &member{
			id: r.MemberID, instance: r.InstanceID, clientID: r.ClientID, clientHost: r.ClientHost,
			session: millis(r.SessionTimeout), rebalance: millis(r.RebalanceTimeout), assignment: r.Assignment,
		}
		if m.protocol != nil {
			p.protocols = []Protocol{{*m.protocol, r.Subscription}}
		}
		m.add(p, v.ProtocolType, 0)
	}
	if v.Leader != nil && m.members[*v.Leader] != nil {
		m.leader = *v.Leader
	}
	if len(m.order) > 0 && m.protocol == nil {
		// A damaged record: members without a protocol. They will join again.
		name := ""
		m.protocol = &name
	}
	if len(m.order) > 0 {
		m.state = Stable
	}
	if m.protocol != nil {
		m.subscribed = m.subscriptions()
	}
	return m
}

func millis(ms int32) time.Duration { return time.Duration(ms) * time.Millisecond }

// Loaded begins the life of a restored group.
func (m *Machine) Loaded(now time.Time) Effects {
	if m.state == Stable && len(m.order) > m.limits.MaxSize {
		m.prepare(now, "the group has more members than allowed")
	}
	for _, p := range m.order {
		m.heard(p, now)
	}
	m.settle(now)
	return m.flush()
}
