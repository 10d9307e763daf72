package group

import (
	"time"

	"barnabas/protocol"
)

// Sync lets t wait for its assignment (GroupCoordinator.doSyncGroup).
func (m *Machine) Sync(now time.Time, t Ticket, r *SyncRequest) Effects {
	if err := m.validateSync(r); err != ok {
		m.out.Syncs = append(m.out.Syncs, SyncAnswer{t, SyncResponse{Err: err}})
		return m.flush()
	}
	p := m.members[r.MemberID]
	m.synced(p)
	if m.state == Stable {
		m.out.Syncs = append(m.out.Syncs, SyncAnswer{t, SyncResponse{ProtocolType: m.nullableType(), Protocol: m.protocol, Assignment: p.assignment}})
		m.heard(p, now)
		return m.flush()
	}
	// The same member may ask twice; the earlier caller gave up.
	m.answerSync(p, SyncResponse{Err: errRebalancing})
	p.sync = t
	if m.leader == p.id {
		assignments := make(map[string][]byte, len(r.Assignments))
		for _, a := range r.Assignments {
			assignments[a.MemberID] = a.Data
		}
		m.write(m.value(assignments), storing{generation: m.generation, assignments: assignments})
	}
	return m.flush()
}

func (m *Machine) validateSync(r *SyncRequest) protocol.Error {
	if m.state == Dead {
		return errNotAvailable
	}
	if err := m.validate(r.MemberID, r.InstanceID); err != ok {
		return err
	}
	switch {
	case r.Generation != m.generation:
		return errIllegalGeneration
	case r.ProtocolType != nil && *r.ProtocolType != m.protocolType,
		r.Protocol != nil && (m.protocol == nil || *r.Protocol != *m.protocol):
		return errInconsistentProtocol
	case m.state == Empty:
		return errUnknownMember
	case m.state == PreparingRebalance:
		return errRebalancing
	}
	return ok
}

// Stored tells the outcome of a Write.
func (m *Machine) Stored(now time.Time, id uint64, err error) Effects {
	s, found := m.writes[id]
	delete(m.writes, id)
	if !found || m.state == Dead {
		return m.flush()
	}
	code := joinStoreError(err)
	switch {
	case s.static != nil:
		m.staticStored(now, s.static, s.generation, code)
	case s.assignments != nil && m.state == CompletingRebalance && m.generation == s.generation:
		if code != ok {
			m.fail(now, SyncResponse{Err: code})
			m.prepare(now, "the assignment could not be stored: "+code.Name())
			break
		}
		m.assign(now, s.assignments)
	}
	m.settle(now)
	return m.flush()
}

// assign makes the group stable. A member that the leader left out gets an empty
// assignment.
func (m *Machine) assign(now time.Time, assignments map[string][]byte) {
	for _, p := range m.order {
		p.assignment = assignments[p.id]
		if m.answerSync(p, SyncResponse{ProtocolType: m.nullableType(), Protocol: m.protocol, Assignment: p.assignment}) {
			m.heard(p, now)
		}
	}
	m.enter(Stable, now)
	m.history.assigned(now)
	m.note("group is stable", "the leader's assignment is stored")
}

// Heartbeat keeps a member alive (GroupCoordinator.handleHeartbeat).
func (m *Machine) Heartbeat(now time.Time, r *HeartbeatRequest) protocol.Error {
	if m.state == Dead {
		return errNotAvailable
	}
	if err := m.validate(r.MemberID, r.InstanceID); err != ok {
		return err
	}
	if r.Generation != m.generation {
		return errIllegalGeneration
	}
	p := m.members[r.MemberID]
	if !p.fresh {
		m.heard(p, now)
	}
	if m.state == PreparingRebalance {
		return errRebalancing
	}
	return ok
}

// Leave removes members (GroupCoordinator.handleLeaveGroup). The answer is in
// the order of the request.
func (m *Machine) Leave(now time.Time, r *LeaveRequest) (LeaveResponse, Effects) {
	if m.state == Dead {
		return LeaveResponse{Err: errNotAvailable}, Effects{}
	}
	res := LeaveResponse{Members: make([]LeftMember, 0, len(r.Members))}
	for _, l := range r.Members {
		res.Members = append(res.Members, LeftMember{m.leave(now, l), l.MemberID, l.InstanceID})
	}
	m.settle(now)
	return res, m.flush()
}

func (m *Machine) leave(now time.Time, l LeavingMember) protocol.Error {
	id := l.MemberID
	if id == "" && l.InstanceID != nil {
		id = m.static[*l.InstanceID] // an administrator's removal
	}
	if _, isPending := m.pending[id]; isPending {
		delete(m.pending, id)
		return ok
	}
	if err := m.validate(id, l.InstanceID); err != ok {
		return err
	}
	p := m.members[id]
	m.remove(p, errUnknownMember)
	m.membersChanged(now, who(p)+" leaves: "+reasonOr(l.Reason, "it asked for it"))
	return ok
}
