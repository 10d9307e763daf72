package group

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"barnabas/log/batch"
	"barnabas/protocol"
	"barnabas/protocol/grouplog"
)

// Join blocks until the member has its generation or is refused. If ctx ends
// first the answer is lost and the error UNKNOWN_SERVER_ERROR.
func (c *Coordinator) Join(ctx context.Context, r *JoinRequest) JoinResponse {
	refuse := func(err protocol.Error) JoinResponse {
		return JoinResponse{Err: err, MemberID: r.MemberID, Generation: -1}
	}
	switch {
	case !validID(r.Group):
		return refuse(errInvalidGroupID)
	case !r.fits():
		return refuse(errInvalidRequest)
	}
	// Whether this broker is the coordinator is said before the rest is judged.
	if _, err := c.owner(r.Group); err != ok {
		return refuse(err)
	}
	if r.SessionTimeout < c.cfg.MinSessionTimeout || r.SessionTimeout > c.cfg.MaxSessionTimeout {
		return refuse(errSessionTimeout)
	}
	g, err := c.lock(r.Group, r.MemberID == "")
	switch {
	case err != ok:
		return refuse(err)
	case g == nil:
		return refuse(errUnknownMember)
	}
	own := *r
	own.Protocols = distinct(r.Protocols)
	own.RebalanceTimeout = max(r.RebalanceTimeout, 0)
	t, answer := g.waitJoin()
	g.finish(g.perform(func(now time.Time) Effects { return g.m.Join(now, t, &own, own.newID()) }))
	select {
	case res := <-answer:
		return res
	case <-ctx.Done():
		g.giveUp(t)
		return refuse(errUnknownServer)
	}
}

// owner checks that the group is coordinated here.
func (c *Coordinator) owner(group string) (*partition, protocol.Error) {
	p, err := c.partitionOf(group)
	if err != ok {
		return nil, err
	}
	switch p.ownership() {
	case notOwned:
		return nil, errNotCoordinator
	case loading:
		return nil, errLoading
	}
	return p, ok
}

// newID makes the id of a new member: its client or instance and random bytes in
// the form of a UUID.
func (r *JoinRequest) newID() string {
	if r.MemberID != "" {
		return ""
	}
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	x := hex.EncodeToString(b[:])
	prefix := r.ClientID
	if r.InstanceID != nil {
		prefix = *r.InstanceID
	}
	return prefix + "-" + x[:8] + "-" + x[8:12] + "-" + x[12:16] + "-" + x[16:20] + "-" + x[20:]
}

// idRoom is what newID adds to a client's or an instance's name.
const idRoom = 37

// fits reports whether the request's strings can be kept in a record.
func (r *JoinRequest) fits() bool {
	if r.InstanceID != nil && !grouplog.FitsString(*r.InstanceID+strings.Repeat(" ", idRoom)) {
		return false
	}
	for i := range r.Protocols {
		if !grouplog.FitsString(r.Protocols[i].Name) {
			return false
		}
	}
	return grouplog.FitsString(r.ProtocolType) && grouplog.FitsString(r.MemberID) && len(r.ClientID) <= 1<<15-1-idRoom && grouplog.FitsString(r.ClientHost)
}

// validID reports whether a group may have members under this id.
func validID(group string) bool { return group != "" && grouplog.FitsString(group) }

// distinct copies the protocols without repeated names, so that no member has
// two votes.
func distinct(ps []Protocol) []Protocol {
	out := make([]Protocol, 0, len(ps))
	seen := make(map[string]struct{}, len(ps))
	for _, p := range ps {
		if _, twice := seen[p.Name]; !twice {
			seen[p.Name] = struct{}{}
			out = append(out, p)
		}
	}
	return out
}

// Sync blocks until the assignment is known. If ctx ends first the answer is
// lost and the error UNKNOWN_SERVER_ERROR.
func (c *Coordinator) Sync(ctx context.Context, r *SyncRequest) SyncResponse {
	if !validID(r.Group) {
		return SyncResponse{Err: errInvalidGroupID}
	}
	g, err := c.lock(r.Group, false)
	switch {
	case err == errLoading:
		// The rebalance is lost: the member joins again without looking for a
		// coordinator.
		return SyncResponse{Err: errRebalancing}
	case err != ok:
		return SyncResponse{Err: err}
	case g == nil:
		return SyncResponse{Err: errUnknownMember}
	}
	t, answer := g.waitSync()
	g.finish(g.perform(func(now time.Time) Effects { return g.m.Sync(now, t, r) }))
	select {
	case res := <-answer:
		return res
	case <-ctx.Done():
		g.giveUp(t)
		return SyncResponse{Err: errUnknownServer}
	}
}

// Heartbeat keeps a member alive.
func (c *Coordinator) Heartbeat(r *HeartbeatRequest) protocol.Error {
	if !validID(r.Group) {
		return errInvalidGroupID
	}
	g, err := c.lock(r.Group, false)
	switch {
	case err == errLoading:
		return ok // sessions begin when it is loaded
	case err != ok:
		return err
	case g == nil:
		return errUnknownMember
	}
	defer g.mu.Unlock()
	now := time.Now()
	err = g.m.Heartbeat(now, r)
	g.arm(now)
	return err
}

// Leave removes members.
func (c *Coordinator) Leave(r *LeaveRequest) LeaveResponse {
	if !validID(r.Group) {
		return LeaveResponse{Err: errInvalidGroupID}
	}
	g, err := c.lock(r.Group, false)
	switch {
	case err != ok:
		return LeaveResponse{Err: err}
	case g == nil:
		res := LeaveResponse{Members: make([]LeftMember, len(r.Members))}
		for i, m := range r.Members {
			res.Members[i] = LeftMember{errUnknownMember, m.MemberID, m.InstanceID}
		}
		return res
	}
	var res LeaveResponse
	g.finish(g.perform(func(now time.Time) (e Effects) {
		res, e = g.m.Leave(now, r)
		return e
	}))
	return res
}

// Commit stores offsets and blocks until in-sync replicas have them; the outcome
// of each partition is its Err. If ctx ends first the outcome is unknown and
// UNKNOWN_SERVER_ERROR, in a copy, since the append still holds r.
func (c *Coordinator) Commit(ctx context.Context, r *CommitRequest) *CommitRequest {
	if !grouplog.FitsString(r.Group) {
		r.failAll(errInvalidGroupID)
		return r
	}
	g, err := c.lock(r.Group, r.Generation < 0)
	switch {
	case err != ok:
		r.failAll(err)
		return r
	case g == nil:
		r.failAll(errIllegalGeneration)
		return r
	}
	accepted := 0
	answer := make(chan struct{}, 1)
	g.finish(g.perform(func(now time.Time) Effects {
		if accepted = g.m.BeginCommit(now, r); accepted > 0 {
			g.p.appends.add(g.committing(r, answer))
		}
		return Effects{}
	}))
	if accepted == 0 {
		return r
	}
	select {
	case <-answer:
		return r
	case <-ctx.Done():
		lost := &CommitRequest{Group: r.Group, Topics: slices.Clone(r.Topics)}
		for i := range lost.Topics {
			t := &lost.Topics[i]
			ps := make([]CommitPartition, len(t.Partitions))
			for j := range ps {
				ps[j] = CommitPartition{Partition: t.Partitions[j].Partition, Err: errUnknownServer}
			}
			t.Partitions = ps
		}
		return lost
	}
}

// committing is the append of what BeginCommit accepted of r.
func (g *instance) committing(r *CommitRequest, answer chan<- struct{}) *appending {
	return &appending{
		tenure:   g.t,
		sequence: 0,
		records: func(b *batch.Builder, ts int64) {
			var key, value []byte
			for i := range r.Topics {
				t := &r.Topics[i]
				for j := range t.Partitions {
					p := &t.Partitions[j]
					if p.Err != ok {
						continue
					}
					key = grouplog.AppendOffsetKey(key[:0], r.Group, t.Topic, p.Partition)
					value = grouplog.AppendOffsetValue(value[:0], &grouplog.OffsetValue{
						Offset: p.Offset, LeaderEpoch: p.LeaderEpoch, Metadata: p.Metadata,
						CommitTimestamp: p.Timestamp, ExpireTimestamp: p.expiration,
					})
					b.Append(ts, key, value)
				}
			}
		},
		done: func(base int64, err error) {
			g.step(func(time.Time) Effects {
				g.m.EndCommit(r, base, err)
				return Effects{}
			})
			answer <- struct{}{}
		},
	}
}

// Fetch returns committed offsets.
func (c *Coordinator) Fetch(r *FetchRequest) FetchResponse {
	if !grouplog.FitsString(r.Group) {
		return FetchResponse{Err: errInvalidGroupID}
	}
	g, err := c.lock(r.Group, false)
	switch {
	case err != ok:
		return FetchResponse{Err: err}
	case g == nil:
		return fetchNothing(r)
	}
	defer g.mu.Unlock()
	return g.m.Fetch(r)
}

// Describe tells about one group.
func (c *Coordinator) Describe(group string) Description {
	if !grouplog.FitsString(group) {
		return Description{Group: group, Err: errInvalidGroupID}
	}
	g, err := c.lock(group, false)
	switch {
	case err != ok:
		return Description{Group: group, Err: err}
	case g == nil:
		return deadDescription(group)
	}
	defer g.mu.Unlock()
	return g.m.Describe()
}

// Count is what the groups of the partitions led here are and have.
type Count struct {
	// States has the number of groups by state.
	States [Dead + 1]int
	// Offsets is the number of committed offsets, Members that of members.
	Offsets, Members int
	// Loading is the number of partitions that are being loaded.
	Loading int
}

// Groups is the number of groups.
func (c *Count) Groups() int {
	n := 0
	for _, s := range c.States {
		n += s
	}
	return n
}

// Count counts the groups.
func (c *Coordinator) Count() Count {
	var n Count
	c.mu.RLock()
	for _, p := range c.partitions {
		if p.ownership() == loading {
			n.Loading++
		}
	}
	c.mu.RUnlock()
	for _, g := range c.instances() {
		g.mu.Lock()
		n.States[g.m.state]++
		n.Offsets += len(g.m.offsets.stable)
		n.Members += len(g.m.members)
		g.mu.Unlock()
	}
	return n
}

// classic is the type of all groups here (KIP-848's other is "consumer").
const classic = "classic"

// List returns the groups of the partitions that are led here, by name. states
// and types, if not empty, choose among them; case does not matter. While a
// partition is being loaded the error is COORDINATOR_LOAD_IN_PROGRESS, beside
// the groups that are known.
func (c *Coordinator) List(states, types []string) ([]Listed, protocol.Error) {
	c.mu.RLock()
	closed, err := c.closed, ok
	for _, p := range c.partitions {
		if p.ownership() == loading {
			err = errLoading
		}
	}
	c.mu.RUnlock()
	if closed {
		return nil, errNotAvailable
	}
	has := func(list []string, s string) bool {
		return len(list) == 0 || slices.ContainsFunc(list, func(x string) bool { return strings.EqualFold(x, s) })
	}
	if !has(types, classic) {
		return nil, err
	}
	var out []Listed
	for _, g := range c.instances() {
		g.mu.Lock()
		l := g.m.List()
		g.mu.Unlock()
		if l.State != Dead && has(states, l.State.String()) {
			out = append(out, l)
		}
	}
	slices.SortFunc(out, func(a, b Listed) int { return strings.Compare(a.Group, b.Group) })
	return out, err
}
