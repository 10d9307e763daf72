package group

import (
	"slices"
	"strings"
	"time"

	"barnabas/protocol"
	"barnabas/protocol/grouplog"
)

// Ticket names a caller that waits for the answer to its join or sync. 0 is
// nobody.
type Ticket uint64

// Limits are the rules that a Machine follows.
type Limits struct {
	// MaxSize is the most members (group.max.size).
	MaxSize int
	// InitialDelay is how long an empty group waits for more members.
	InitialDelay time.Duration
	// MaxMetadata is the longest metadata of a commit in UTF-16 units.
	MaxMetadata int
	// Retention is how long offsets of an empty group stay.
	Retention time.Duration
}

// Effects are what a step asks its caller to do, each list in order.
type Effects struct {
	Joins  []JoinAnswer
	Syncs  []SyncAnswer
	Writes []Write
	Notes  []Note
}

// JoinAnswer answers one waiting JoinGroup.
type JoinAnswer struct {
	To       Ticket
	Response JoinResponse
}

// SyncAnswer answers one waiting SyncGroup.
type SyncAnswer struct {
	To       Ticket
	Response SyncResponse
}

// Write is a group record to append; the outcome goes to Stored. Writes of one
// group must reach the log in the order in which they were asked for.
type Write struct {
	ID    uint64
	Value *grouplog.GroupValue
}

// Note is a happening that an operator may want to read.
type Note struct {
	What       string // a constant message
	Reason     string
	Generation int32
	Members    int
	State      State
}

// member is one consumer.
//
// Invariant: it waits for at most one of join and sync.
type member struct {
	id                   string
	instance             *string // of static members
	clientID, clientHost string
	session, rebalance   time.Duration
	protocols            []Protocol
	assignment           []byte
	// fresh: it has not got its first generation yet, and so can't send
	// heartbeats; its deadline holds although it waits.
	fresh bool
	// join and sync are who waits for it.
	join, sync Ticket
	deadline   time.Time
}

// expires tells when the member is removed unless it is heard of. A member that
// waits for its rebalance is alive.
func (p *member) expires() (time.Time, bool) {
	if !p.fresh && (p.join != 0 || p.sync != 0) {
		return time.Time{}, false
	}
	return p.deadline, true
}

// who names a member to people.
func who(p *member) string {
	s := "member " + p.id
	if p.clientHost != "" {
		s += " of " + strings.TrimPrefix(p.clientHost, "/")
	}
	return s
}

func (p *member) metadata(protocol string) []byte {
	for i := range p.protocols {
		if p.protocols[i].Name == protocol {
			return p.protocols[i].Metadata
		}
	}
	return nil
}

// Machine is one group. Every method is a step; the caller serialises them and
// performs the Effects. Not the zero value but NewMachine makes one.
//
// Invariants (check tests them after each step of the tests):
//   - members, order and static agree; leader is a member unless there is none;
//   - awaiting is the number of members with a join ticket;
//   - Empty has no members; CompletingRebalance and Stable have some, and a
//     protocol that all of them support;
//   - votes[p] is the number of members that support p.
type Machine struct {
	id     string
	limits Limits

	state State
	// since is when state was entered; the zero time if an old record did not
	// say.
	since        time.Time
	generation   int32
	protocolType string // "" before the first member, and of simple consumers
	protocol     *string
	leader       string
	members      map[string]*member
	order        []*member // by time of joining
	static       map[string]string
	votes        map[string]int
	awaiting     int
	// pending holds the ids that were given out and not used yet, with their
	// expiry.
	pending map[string]time.Time
	// unsynced members have not sent SyncGroup in this generation; at
	// syncDeadline they are removed.
	unsynced     map[string]struct{}
	syncDeadline time.Time
	// subscribed are the topics of the generation; nil if not known.
	subscribed map[string]struct{}

	// joinDeadline ends PreparingRebalance. initial: this is the delay of a
	// group that was empty, which never ends early; grown: a member came during
	// it; room is by how much it may still be extended.
	joinDeadline time.Time
	initial      bool
	grown        bool
	room         time.Duration

	offsets offsets
	// forgotten is what the last deletion has removed.
	forgotten forgotten
	history   chronicle

	// next is not later than the earliest deadline.
	next   time.Time
	writes map[uint64]storing
	lastID uint64
	out    Effects
}

// NewMachine makes an empty group.
func NewMachine(id string, l Limits, now time.Time) *Machine {
	return &Machine{
		id:      id,
		limits:  l,
		since:   now,
		members: map[string]*member{},
		static:  map[string]string{},
		votes:   map[string]int{},
		pending: map[string]time.Time{},
		writes:  map[uint64]storing{},
	}
}

// State returns the group's state.
func (m *Machine) State() State { return m.state }

// Deadline is when Tick must be called, or the zero time.
func (m *Machine) Deadline() time.Time { return m.next }

// Vacant reports whether the group holds nothing that would be missed: it was
// looked at, and nobody joined or committed. Its owner may Drop and forget it.
func (m *Machine) Vacant() bool {
	return m.state == Empty && m.generation == 0 && m.protocolType == "" &&
		len(m.pending) == 0 && len(m.writes) == 0 && m.offsets.empty()
}

// Drop makes the group Dead without a word to anybody.
func (m *Machine) Drop(now time.Time) { m.enter(Dead, now) }

func (m *Machine) flush() Effects {
	e := m.out
	m.out = Effects{}
	return e
}

func (m *Machine) enter(s State, now time.Time) {
	m.state, m.since = s, now
}

func (m *Machine) note(what, reason string) {
	m.out.Notes = append(m.out.Notes, Note{What: what, Reason: reason, Generation: m.generation, Members: len(m.order), State: m.state})
}

// at records a deadline.
func (m *Machine) at(t time.Time) {
	if m.next.IsZero() || t.Before(m.next) {
		m.next = t
	}
}

// heard restarts a member's session.
func (m *Machine) heard(p *member, now time.Time) {
	p.deadline = now.Add(p.session)
	m.at(p.deadline)
}

// validate checks that a member is who it says (GroupCoordinator.validateCurrentMember).
func (m *Machine) validate(id string, instance *string) protocol.Error {
	if instance != nil {
		current, found := m.static[*instance]
		switch {
		case !found:
			return errUnknownMember
		case current != id:
			return errFencedInstance
		}
	}
	if m.members[id] == nil {
		return errUnknownMember
	}
	return ok
}

func (m *Machine) nullableType() *string {
	if m.protocolType == "" {
		return nil
	}
	t := m.protocolType
	return &t
}

// add makes p a member that waits for ticket t.
func (m *Machine) add(p *member, protocolType string, t Ticket) {
	if p.instance != nil {
		m.static[*p.instance] = p.id
	}
	if len(m.order) == 0 {
		m.protocolType = protocolType
	}
	if m.leader == "" {
		m.leader = p.id
	}
	m.members[p.id] = p
	m.order = append(m.order, p)
	m.count(p, 1)
	if t != 0 {
		p.join = t
		m.awaiting++
	}
	delete(m.pending, p.id)
}

// remove takes a member out and answers whatever waits for it.
func (m *Machine) remove(p *member, reason protocol.Error) {
	m.answerJoin(p, JoinResponse{Err: reason, Generation: -1})
	m.answerSync(p, SyncResponse{Err: reason})
	m.count(p, -1)
	delete(m.members, p.id)
	if i := slices.Index(m.order, p); i >= 0 {
		m.order = slices.Delete(m.order, i, i+1)
	}
	if p.instance != nil {
		delete(m.static, *p.instance)
	}
	if m.leader == p.id {
		m.leader = ""
		if len(m.order) > 0 {
			m.leader = m.order[0].id
		}
	}
	delete(m.unsynced, p.id)
}

// count adds n to the votes of the protocols that p supports. Names in one
// member's list are distinct.
func (m *Machine) count(p *member, n int) {
	for i := range p.protocols {
		name := p.protocols[i].Name
		if m.votes[name] += n; m.votes[name] == 0 {
			delete(m.votes, name)
		}
	}
}

// update gives a member new protocols and timeouts and lets t wait for it.
func (m *Machine) update(p *member, r *JoinRequest, t Ticket) {
	m.count(p, -1)
	p.protocols = r.Protocols
	m.count(p, 1)
	p.rebalance, p.session = r.RebalanceTimeout, r.SessionTimeout
	if p.join != 0 {
		// The same member asks twice; the earlier caller gave up.
		m.answerJoin(p, JoinResponse{Err: errRebalancing, MemberID: p.id, Generation: -1})
	}
	if t != 0 {
		p.join = t
		m.awaiting++
	}
}

func (m *Machine) answerJoin(p *member, r JoinResponse) {
	if p.join == 0 {
		return
	}
	m.out.Joins = append(m.out.Joins, JoinAnswer{p.join, r})
	p.join = 0
	m.awaiting--
}

func (m *Machine) answerSync(p *member, r SyncResponse) bool {
	if p.sync == 0 {
		return false
	}
	m.out.Syncs = append(m.out.Syncs, SyncAnswer{p.sync, r})
	p.sync = 0
	return true
}

// joined is the answer to a member about the current generation.
func (m *Machine) joined(p *member, withMembers bool) JoinResponse {
	r := JoinResponse{
		MemberID:     p.id,
		Generation:   m.generation,
		ProtocolType: m.nullableType(),
		Protocol:     m.protocol,
		Leader:       m.leader,
	}
	if withMembers {
		r.Members = make([]JoinMember, 0, len(m.order))
		for _, q := range m.order {
			r.Members = append(r.Members, JoinMember{q.id, q.instance, q.metadata(*m.protocol)})
		}
	}
	return r
}

// Unload ends the group because another broker coordinates it now.
func (m *Machine) Unload(now time.Time) Effects {
	m.enter(Dead, now)
	for _, p := range m.order {
		m.answerJoin(p, JoinResponse{Err: errNotCoordinator, MemberID: p.id, Generation: -1})
		m.answerSync(p, SyncResponse{Err: errNotCoordinator})
	}
	m.next = time.Time{}
	return m.flush()
}

// Tick does what is due at now.
func (m *Machine) Tick(now time.Time) Effects {
	if m.state == Dead {
		m.next = time.Time{}
		return Effects{}
	}
	m.expireUnsynced(now)
	for id, t := range m.pending {
		if !t.After(now) {
			delete(m.pending, id)
		}
	}
	for _, p := range slices.Clone(m.order) {
		if t, may := p.expires(); may && !t.After(now) {
			m.remove(p, errUnknownMember)
			m.membersChanged(now, who(p)+" was not heard of for its session timeout")
		}
	}
	m.settle(now)
	m.reckon()
	return m.flush()
}

// reckon finds the earliest deadline.
func (m *Machine) reckon() {
	m.next = time.Time{}
	if m.state == PreparingRebalance {
		m.at(m.joinDeadline)
	}
	if !m.syncDeadline.IsZero() {
		m.at(m.syncDeadline)
	}
	for _, t := range m.pending {
		m.at(t)
	}
	for _, p := range m.order {
		if t, may := p.expires(); may {
			m.at(t)
		}
	}
}
