package group

import (
	"bytes"
	"cmp"
	"slices"
	"time"

	"barnabas/protocol"
)

// maxPending bounds the ids that were given out and not used, since asking for
// one costs a client nothing.
const maxPending = 50_000

// Join lets t wait for membership (GroupCoordinator.handleJoinGroup). newID is
// the id that a new member is to have. The machine keeps r's slices.
func (m *Machine) Join(now time.Time, t Ticket, r *JoinRequest, newID string) Effects {
	switch {
	case !m.admits(r.MemberID):
		if p := m.members[r.MemberID]; p != nil {
			m.remove(p, errUnknownMember)
			m.membersChanged(now, who(p)+" was refused for the size of the group")
		}
		delete(m.pending, r.MemberID)
		m.refuse(t, "", errMaxSize)
	case m.state == Dead:
		m.refuse(t, r.MemberID, errNotAvailable)
	case !m.supports(r):
		m.refuse(t, r.MemberID, errInconsistentProtocol)
	case r.MemberID == "":
		m.joinNew(now, t, r, newID)
	default:
		m.joinKnown(now, t, r)
	}
	if p := m.members[cmp.Or(r.MemberID, newID)]; p != nil && p.join == t {
		m.history.arrived(now, p.id)
	}
	m.settle(now)
	return m.flush()
}

func (m *Machine) refuse(t Ticket, memberID string, err protocol.Error) {
	m.out.Joins = append(m.out.Joins, JoinAnswer{t, JoinResponse{Err: err, MemberID: memberID, Generation: -1}})
}

// admits applies group.max.size.
func (m *Machine) admits(id string) bool {
	p := m.members[id]
	switch m.state {
	case PreparingRebalance:
		return p != nil && p.join != 0 || m.awaiting < m.limits.MaxSize
	case CompletingRebalance, Stable:
		return p != nil || len(m.order) < m.limits.MaxSize
	}
	return true
}

// supports reports whether the request's protocols can serve the group.
func (m *Machine) supports(r *JoinRequest) bool {
	if m.state == Empty {
		return r.ProtocolType != "" && len(r.Protocols) > 0
	}
	return r.ProtocolType == m.protocolType && slices.ContainsFunc(r.Protocols, func(p Protocol) bool {
		return m.votes[p.Name] == len(m.order)
	})
}

func (m *Machine) joinNew(now time.Time, t Ticket, r *JoinRequest, newID string) {
	switch {
	case r.InstanceID != nil && m.static[*r.InstanceID] != "":
		m.replaceStatic(now, t, r, newID)
	case r.InstanceID != nil || !r.RequireMemberID:
		m.addAndRebalance(now, t, r, newID)
	case len(m.pending) >= maxPending:
		m.refuse(t, "", errMaxSize)
	default:
		m.pending[newID] = now.Add(r.SessionTimeout)
		m.at(m.pending[newID])
		m.refuse(t, newID, errMemberIDRequired)
	}
}

func (m *Machine) joinKnown(now time.Time, t Ticket, r *JoinRequest) {
	if _, isPending := m.pending[r.MemberID]; isPending && r.InstanceID == nil {
		m.addAndRebalance(now, t, r, r.MemberID)
		return
	}
	if err := m.validate(r.MemberID, r.InstanceID); err != ok {
		m.refuse(t, r.MemberID, err)
		return
	}
	p := m.members[r.MemberID]
	same := slices.EqualFunc(p.protocols, r.Protocols, func(a, b Protocol) bool {
		return a.Name == b.Name && bytes.Equal(a.Metadata, b.Metadata)
	})
	isLeader := m.leader == p.id
	switch m.state {
	case PreparingRebalance:
		m.update(p, r, t)
	case CompletingRebalance:
		if same {
			// It may not have got the answer to its first join.
			m.out.Joins = append(m.out.Joins, JoinAnswer{t, m.joined(p, isLeader)})
			return
		}
		m.update(p, r, t)
		m.prepare(now, who(p)+" changed its metadata")
	case Stable:
		if same && !isLeader {
			m.out.Joins = append(m.out.Joins, JoinAnswer{t, m.joined(p, false)})
			return
		}
		// A leader may have seen changes that its metadata don't show.
		m.update(p, r, t)
		m.prepare(now, who(p)+" joined again: "+reasonOr(r.Reason, "leader or changed metadata"))
	default:
		m.refuse(t, r.MemberID, errUnknownMember)
	}
}

func reasonOr(reason, otherwise string) string {
	if reason == "" {
		return otherwise
	}
	return shorten(reason) // Kafka's own clients send no more either
}

// newMemberTimeout is how long a new member may wait for its first generation:
// it can't send heartbeats, and its client may be gone.
const newMemberTimeout = 5 * time.Minute

func (m *Machine) addAndRebalance(now time.Time, t Ticket, r *JoinRequest, id string) {
	p := &member{
		id: id, instance: r.InstanceID, clientID: r.ClientID, clientHost: r.ClientHost,
		session: r.SessionTimeout, rebalance: r.RebalanceTimeout, protocols: r.Protocols, fresh: true,
	}
	if m.state == PreparingRebalance && m.generation == 0 {
		m.grown = true
	}
	m.add(p, r.ProtocolType, t)
	p.deadline = now.Add(newMemberTimeout)
	m.at(p.deadline)
	if m.state != PreparingRebalance {
		m.prepare(now, who(p)+" joins: "+reasonOr(r.Reason, "new"))
	}
}

// storing is what a Write in flight is for. At most one of the two is set; none
// for the record of an empty group.
type storing struct {
	generation  int32
	assignments map[string][]byte
	static      *replacement
}

// replacement is a static member's new incarnation whose record is in flight,
// with what is needed to undo it.
type replacement struct {
	ticket             Ticket
	member             *member
	oldID, oldLeader   string
	protocols          []Protocol
	rebalance, session time.Duration
	canSkip            bool
}

// replaceStatic gives an instance's membership to a new process (KIP-345).
func (m *Machine) replaceStatic(now time.Time, t Ticket, r *JoinRequest, newID string) {
	p := m.members[m.static[*r.InstanceID]]
	undo := &replacement{
		ticket: t, member: p, oldID: p.id, oldLeader: m.leader, canSkip: r.CanSkipAssignment,
		protocols: p.protocols, rebalance: p.rebalance, session: p.session,
	}
	m.answerJoin(p, JoinResponse{Err: errFencedInstance, MemberID: p.id, Generation: -1})
	m.answerSync(p, SyncResponse{Err: errFencedInstance})
	m.rename(p, newID)
	m.update(p, r, t)
	m.heard(p, now)
	switch m.state {
	case Stable:
		if m.protocol == nil || m.vote() != *m.protocol {
			m.prepare(now, "static member "+*p.instance+" came back and the protocol changes")
			return
		}
		assignments := make(map[string][]byte, len(m.order))
		for _, q := range m.order {
			assignments[q.id] = q.assignment
		}
		m.write(m.value(assignments), storing{generation: m.generation, static: undo})
	case CompletingRebalance:
		// The leader may be assigning to the old id just now.
		m.prepare(now, "static member "+*p.instance+" came back while the group was being assigned")
	}
}

// rename gives a member another id.
func (m *Machine) rename(p *member, id string) {
	old := p.id
	delete(m.members, old)
	p.id = id
	m.members[id] = p
	m.static[*p.instance] = id
	if m.leader == old {
		m.leader = id
	}
	if _, is := m.unsynced[old]; is {
		delete(m.unsynced, old)
		m.unsynced[id] = struct{}{}
	}
}

// staticStored ends a replacement: the newcomer is answered without a rebalance,
// or the old incarnation is restored.
func (m *Machine) staticStored(now time.Time, u *replacement, generation int32, err protocol.Error) {
	p := u.member
	if m.members[p.id] != p || p.join != u.ticket {
		return // left, was replaced again, or a rebalance has answered it
	}
	if err != ok {
		r := JoinResponse{Err: err, Generation: m.generation, ProtocolType: m.nullableType(), Protocol: m.protocol, Leader: u.oldLeader}
		m.answerJoin(p, r)
		m.rename(p, u.oldID)
		m.count(p, -1)
		p.protocols, p.rebalance, p.session = u.protocols, u.rebalance, u.session
		m.count(p, 1)
		m.heard(p, now)
		return
	}
	if m.state != Stable || m.generation != generation {
		return // the rebalance that began meanwhile answers it
	}
	isLeader := m.leader == p.id
	r := m.joined(p, u.canSkip && isLeader)
	if u.canSkip {
		r.SkipAssignment = isLeader
	} else {
		// Clients before v9 would assign anew if they were told that they lead, and
		// a stable group would not hear of it: they are told the old id.
		r.Leader = u.oldLeader
	}
	m.answerJoin(p, r)
	m.heard(p, now)
}
