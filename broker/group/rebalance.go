package group

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"barnabas/protocol/grouplog"
)

// minPostpone keeps a group whose members ask for no rebalance time, and don't
// come back, from spinning until their sessions expire.
const minPostpone = time.Second

// rebalanceTimeout is the longest that any member asked for.
func (m *Machine) rebalanceTimeout() time.Duration {
	var d time.Duration
	for _, p := range m.order {
		d = max(d, p.rebalance)
	}
	return d
}

// prepare begins a rebalance: all members are to join again.
func (m *Machine) prepare(now time.Time, reason string) {
	if m.state == CompletingRebalance {
		m.fail(now, SyncResponse{Err: errRebalancing})
	}
	clear(m.unsynced)
	m.syncDeadline = time.Time{}
	timeout := m.rebalanceTimeout()
	if m.initial = m.state == Empty; m.initial {
		m.room = max(timeout-m.limits.InitialDelay, 0)
		m.joinDeadline = now.Add(m.limits.InitialDelay)
	} else {
		m.joinDeadline = now.Add(timeout)
	}
	m.enter(PreparingRebalance, now)
	m.history.rebalance(now, reason)
	m.at(m.joinDeadline)
	m.note("group prepares to rebalance", reason)
}

// membersChanged is called after a member was removed.
func (m *Machine) membersChanged(now time.Time, reason string) {
	switch m.state {
	case Stable, CompletingRebalance:
		m.prepare(now, reason)
	case PreparingRebalance:
		m.history.rebalance(now, reason)
	}
}

// settle ends PreparingRebalance when all have joined or its time is over.
func (m *Machine) settle(now time.Time) {
	if m.state != PreparingRebalance {
		return
	}
	all := !m.initial && m.awaiting == len(m.order) && len(m.pending) == 0
	if !all && now.Before(m.joinDeadline) {
		return
	}
	if m.initial && m.grown && m.room > 0 {
		m.grown = false
		delay := min(m.limits.InitialDelay, m.room)
		m.room -= delay
		m.joinDeadline = now.Add(delay)
		m.at(m.joinDeadline)
		return
	}
	m.complete(now)
}

// complete makes the next generation of those who joined
// (GroupCoordinator.onCompleteJoin).
func (m *Machine) complete(now time.Time) {
	m.initial, m.grown = false, false
	m.dropAbsent()
	if len(m.order) > 0 && m.awaiting == 0 {
		// Static members only, and none is here: wait for one, or for the end of
		// their sessions.
		m.joinDeadline = now.Add(max(m.rebalanceTimeout(), minPostpone))
		m.at(m.joinDeadline)
		return
	}
	m.generation++
	if len(m.order) == 0 {
		m.protocol, m.leader = nil, ""
		m.subscribed = m.subscriptions()
		m.enter(Empty, now)
		m.history.joined(now, m)
		m.note("group is empty", "no member is left")
		m.write(m.value(nil), storing{generation: m.generation})
		return
	}
	if m.members[m.leader].join == 0 {
		for _, p := range m.order {
			if p.join != 0 {
				m.leader = p.id
				break
			}
		}
	}
	name := m.vote()
	m.protocol = &name
	m.subscribed = m.subscriptions()
	m.enter(CompletingRebalance, now)
	m.history.joined(now, m)
	m.note("group awaits its assignment", "all members joined or the time was over")
	m.unsynced = make(map[string]struct{}, len(m.order))
	for _, p := range m.order {
		m.answerJoin(p, m.joined(p, p.id == m.leader))
		p.fresh = false
		m.heard(p, now)
		m.unsynced[p.id] = struct{}{}
	}
	m.syncDeadline = now.Add(m.rebalanceTimeout())
	m.at(m.syncDeadline)
}

// dropAbsent removes the dynamic members that did not join again. Static ones
// stay until their sessions expire.
func (m *Machine) dropAbsent() {
	kept := m.order[:0]
	leaderGone := false
	for _, p := range m.order {
		if p.join != 0 || p.instance != nil {
			kept = append(kept, p)
			continue
		}
		m.count(p, -1)
		delete(m.members, p.id)
		m.history.missing(p.id)
		leaderGone = leaderGone || p.id == m.leader
	}
	clear(m.order[len(kept):])
	m.order = kept
	if leaderGone {
		m.leader = ""
		if len(kept) > 0 {
			m.leader = kept[0].id
		}
	}
}

// vote chooses the protocol: each member votes for its first one among those
// that all support; of equals the one that was named first wins.
func (m *Machine) vote() string {
	votes := map[string]int{}
	best := ""
	var names []string
	for _, p := range m.order {
		for i := range p.protocols {
			name := p.protocols[i].Name
			if m.votes[name] == len(m.order) {
				if votes[name] == 0 {
					names = append(names, name)
				}
				votes[name]++
				break
			}
		}
	}
	for _, name := range names {
		if votes[name] > votes[best] {
			best = name
		}
	}
	return best
}

// expireUnsynced removes the members that did not ask for their assignment in
// time (KIP-559's pending sync).
func (m *Machine) expireUnsynced(now time.Time) {
	if m.syncDeadline.IsZero() || now.Before(m.syncDeadline) {
		return
	}
	m.syncDeadline = time.Time{}
	if len(m.unsynced) == 0 || m.state != CompletingRebalance && m.state != Stable {
		return
	}
	names := slices.Sorted(maps.Keys(m.unsynced))
	for _, id := range names {
		if p := m.members[id]; p != nil {
			m.history.unsynced(id)
			m.remove(p, errUnknownMember)
		}
	}
	m.prepare(now, "no SyncGroup in time from "+some(names))
}

// some names the first few.
func some(names []string) string {
	const shown = 3
	if len(names) <= shown {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], ", "), len(names)-shown)
}

// synced marks that a member has asked for its assignment.
func (m *Machine) synced(p *member) {
	delete(m.unsynced, p.id)
	if len(m.unsynced) == 0 {
		m.syncDeadline = time.Time{}
	}
}

// fail takes all assignments back and answers the waiting syncs with r.
func (m *Machine) fail(now time.Time, r SyncResponse) {
	for _, p := range m.order {
		p.assignment = nil
		if m.answerSync(p, r) {
			m.heard(p, now)
		}
	}
}

// write asks for a group record to be appended.
func (m *Machine) write(v *grouplog.GroupValue, s storing) {
	m.lastID++
	m.writes[m.lastID] = s
	m.out.Writes = append(m.out.Writes, Write{m.lastID, v})
}

// value is the group's record with these assignments.
func (m *Machine) value(assignments map[string][]byte) *grouplog.GroupValue {
	v := &grouplog.GroupValue{
		ProtocolType:   m.protocolType,
		Generation:     m.generation,
		Protocol:       m.protocol,
		StateTimestamp: m.since.UnixMilli(),
	}
	if m.leader != "" {
		leader := m.leader
		v.Leader = &leader
	}
	for _, p := range m.order {
		v.Members = append(v.Members, grouplog.MemberValue{
			MemberID: p.id, InstanceID: p.instance, ClientID: p.clientID, ClientHost: p.clientHost,
			RebalanceTimeout: int32(p.rebalance.Milliseconds()), SessionTimeout: int32(p.session.Milliseconds()),
			Subscription: p.metadata(*m.protocol), Assignment: assignments[p.id],
		})
	}
	return v
}
