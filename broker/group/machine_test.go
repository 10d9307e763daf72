package group

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"barnabas/internal/kafka"
	"barnabas/protocol"
	"barnabas/protocol/grouplog"
)

// check tests the invariants of Machine.
func (m *Machine) check() error {
	awaiting, votes := 0, map[string]int{}
	if len(m.members) != len(m.order) {
		return fmt.Errorf("%d members, %d in order", len(m.members), len(m.order))
	}
	statics := 0
	for _, p := range m.order {
		if m.members[p.id] != p {
			return fmt.Errorf("member %s is not in the table", p.id)
		}
		if p.instance != nil {
			if statics++; m.static[*p.instance] != p.id {
				return fmt.Errorf("instance %s is not %s", *p.instance, p.id)
			}
		}
		if p.join != 0 {
			awaiting++
		}
		if p.join != 0 && p.sync != 0 {
			return fmt.Errorf("member %s waits twice", p.id)
		}
		if p.sync != 0 && m.state != CompletingRebalance {
			return fmt.Errorf("member %s waits for its assignment in %s", p.id, m.state)
		}
		for _, q := range p.protocols {
			votes[q.Name]++
		}
		if _, is := m.pending[p.id]; is {
			return fmt.Errorf("member %s is also pending", p.id)
		}
	}
	for id := range m.unsynced {
		if m.members[id] == nil {
			return fmt.Errorf("unsynced %s is no member", id)
		}
	}
	switch {
	case statics != len(m.static):
		return fmt.Errorf("%d static members, %d instances", statics, len(m.static))
	case awaiting != m.awaiting:
		return fmt.Errorf("%d members wait, counted %d", awaiting, m.awaiting)
	case len(m.order) == 0 && m.leader != "" || len(m.order) > 0 && m.members[m.leader] == nil:
		return fmt.Errorf("leader %q is no member", m.leader)
	case m.state == Empty && len(m.order) > 0:
		return errors.New("an empty group has members")
	case (m.state == Stable || m.state == CompletingRebalance) && (len(m.order) == 0 || m.protocol == nil):
		return fmt.Errorf("%s without members or protocol", m.state)
	}
	for name, n := range votes {
		if m.votes[name] != n {
			return fmt.Errorf("protocol %s has %d votes, counted %d", name, n, m.votes[name])
		}
	}
	if (m.state == Stable || m.state == CompletingRebalance) && m.votes[*m.protocol] != len(m.order) {
		return fmt.Errorf("protocol %s has %d votes of %d", *m.protocol, m.votes[*m.protocol], len(m.order))
	}
	if m.state != Dead {
		earliest := *m
		earliest.reckon()
		if !earliest.next.IsZero() && (m.next.IsZero() || m.next.After(earliest.next)) {
			return fmt.Errorf("next tick at %s, but due at %s", m.next, earliest.next)
		}
	}
	return nil
}

// script runs one file of testdata/machine. The time begins at 0 s and moves by
// the command tick only.
type script struct {
	t       *testing.T
	m       *Machine
	now     time.Time
	ticket  Ticket
	commits []*CommitRequest
	ids     int
}

func TestMachine(t *testing.T) {
	datadriven.Walk(t, "testdata/machine", func(t *testing.T, path string) {
		s := &script{t: t, now: time.UnixMilli(0)}
		datadriven.RunTest(t, path, s.run)
	})
}

func (s *script) run(t *testing.T, d *datadriven.TestData) string {
	var out strings.Builder
	if d.Cmd == "new" {
		l := Limits{MaxSize: 1000, InitialDelay: 0, MaxMetadata: 4096, Retention: time.Hour}
		if d.HasArg("max") {
			d.ScanArgs(t, "max", &l.MaxSize)
		}
		l.InitialDelay = duration(t, d, "delay", 0)
		s.m = NewMachine("g", l, s.now)
		s.ids, s.ticket, s.commits = 0, 0, nil
		return ""
	}
	switch d.Cmd {
	case "join":
		s.show(&out, s.join(d))
	case "sync":
		s.show(&out, s.sync(d))
	case "heartbeat":
		r := HeartbeatRequest{Generation: int32(number(t, d, "gen", int(s.m.generation))), MemberID: text(d, "member"), InstanceID: optional(d, "instance")}
		fmt.Fprintf(&out, "heartbeat: %s\n", s.m.Heartbeat(s.now, &r).Name())
	case "leave":
		res, e := s.m.Leave(s.now, &LeaveRequest{Members: []LeavingMember{{MemberID: text(d, "member"), InstanceID: optional(d, "instance"), Reason: text(d, "reason")}}})
		fmt.Fprintf(&out, "leave: %s %v\n", res.Err.Name(), res.Members[0].Err.Name())
		s.show(&out, e)
	case "stored":
		var err error
		if d.HasArg("err") {
			err = protocol.Error(number(t, d, "err", 0))
		}
		s.show(&out, s.m.Stored(s.now, uint64(number(t, d, "id", 0)), err))
	case "tick":
		s.tick(&out, duration(t, d, "for", 0))
	case "unload":
		s.show(&out, s.m.Unload(s.now))
	case "describe":
		x := s.m.Describe()
		fmt.Fprintf(&out, "%s type=%q protocol=%q\n", x.State, x.ProtocolType, x.Protocol)
		for _, p := range x.Members {
			fmt.Fprintf(&out, "  %s instance=%s metadata=%q assignment=%q\n", p.MemberID, show(p.InstanceID), p.Metadata, p.Assignment)
		}
	default:
		s.offsets(t, d, &out)
	}
	if err := s.m.check(); err != nil {
		t.Fatalf("%s: after %s: %v\n%s", d.Pos, d.Cmd, err, out.String())
	}
	fmt.Fprintf(&out, "%s gen=%d leader=%q members=%d pending=%d\n", s.m.state, s.m.generation, s.m.leader, len(s.m.order), len(s.m.pending))
	return out.String()
}

func (s *script) join(d *datadriven.TestData) Effects {
	r := JoinRequest{
		MemberID: text(d, "member"), InstanceID: optional(d, "instance"), ClientID: "c", ClientHost: "/h",
		SessionTimeout: duration(s.t, d, "session", 10*time.Second), RebalanceTimeout: duration(s.t, d, "rebalance", 60*time.Second),
		ProtocolType: "consumer", RequireMemberID: d.HasArg("v4"), CanSkipAssignment: d.HasArg("v9"),
	}
	if d.HasArg("type") {
		r.ProtocolType = text(d, "type")
	}
	protocols := "range"
	if d.HasArg("protocols") {
		protocols = text(d, "protocols")
	}
	for _, p := range strings.Split(protocols, ";") {
		name, data, _ := strings.Cut(p, ":")
		if name != "" {
			r.Protocols = append(r.Protocols, Protocol{name, []byte(data)})
		}
	}
	if d.HasArg("topics") {
		r.Protocols = []Protocol{{"range", subscribe(strings.Split(text(d, "topics"), ";")...)}}
	}
	s.ticket++
	id := fmt.Sprintf("m%d", s.ids+1)
	e := s.m.Join(s.now, s.ticket, &r, id)
	if _, pending := s.m.pending[id]; pending || s.m.members[id] != nil {
		s.ids++
	}
	return e
}

// subscribe is a consumer's subscription of version 0.
func subscribe(topics ...string) []byte {
	b := []byte{0, 0, 0, 0, 0, byte(len(topics))}
	for _, t := range topics {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(t))), t...)
	}
	return append(b, 0xff, 0xff, 0xff, 0xff)
}

func (s *script) sync(d *datadriven.TestData) Effects {
	r := SyncRequest{
		Generation: int32(number(s.t, d, "gen", int(s.m.generation))), MemberID: text(d, "member"), InstanceID: optional(d, "instance"),
		ProtocolType: optional(d, "type"), Protocol: optional(d, "protocol"),
	}
	for _, a := range strings.Split(text(d, "assign"), ";") {
		if id, data, found := strings.Cut(a, ":"); found {
			r.Assignments = append(r.Assignments, Assignment{id, []byte(data)})
		}
	}
	s.ticket++
	return s.m.Sync(s.now, s.ticket, &r)
}

// tick lets time pass, stopping at each deadline.
func (s *script) tick(out *strings.Builder, d time.Duration) {
	end := s.now.Add(d)
	for n := 0; n < 1000; n++ {
		at := s.m.Deadline()
		if at.IsZero() || at.After(end) {
			break
		}
		if at.After(s.now) {
			s.now = at
		}
		e := s.m.Tick(s.now)
		if len(e.Joins)+len(e.Syncs)+len(e.Writes)+len(e.Notes) > 0 {
			fmt.Fprintf(out, "at %s\n", s.now.Sub(time.UnixMilli(0)))
			s.show(out, e)
		}
		if next := s.m.Deadline(); !next.IsZero() && !next.After(s.now) {
			s.t.Fatalf("tick at %s asks for another at once", s.now)
		}
	}
	s.now = end
}

func (s *script) show(out *strings.Builder, e Effects) {
	for _, n := range e.Notes {
		fmt.Fprintf(out, "note: %s (%s) %s\n", n.What, n.Reason, n.State)
	}
	for _, a := range e.Joins {
		r := a.Response
		fmt.Fprintf(out, "join t%d: %s member=%q gen=%d protocol=%s/%s leader=%q", a.To, r.Err.Name(), r.MemberID, r.Generation, show(r.ProtocolType), show(r.Protocol), r.Leader)
		if r.SkipAssignment {
			out.WriteString(" skip")
		}
		for _, q := range r.Members {
			fmt.Fprintf(out, " %s=%q", q.MemberID, q.Metadata)
		}
		out.WriteString("\n")
	}
	for _, a := range e.Syncs {
		fmt.Fprintf(out, "sync t%d: %s %s/%s %q\n", a.To, a.Response.Err.Name(), show(a.Response.ProtocolType), show(a.Response.Protocol), a.Response.Assignment)
	}
	for _, w := range e.Writes {
		fmt.Fprintf(out, "write w%d: gen=%d %s/%s leader=%s since=%d", w.ID, w.Value.Generation, w.Value.ProtocolType, show(w.Value.Protocol), show(w.Value.Leader), w.Value.StateTimestamp)
		for _, q := range w.Value.Members {
			fmt.Fprintf(out, " %s(%s)=%q", q.MemberID, show(q.InstanceID), q.Assignment)
		}
		out.WriteString("\n")
	}
}

// offsets runs the commands about committed offsets.
func (s *script) offsets(t *testing.T, d *datadriven.TestData, out *strings.Builder) {
	switch d.Cmd {
	case "commit":
		r := &CommitRequest{Group: "g", Generation: int32(number(t, d, "gen", -1)), MemberID: text(d, "member"), InstanceID: optional(d, "instance"), Retention: NoRetention}
		if d.HasArg("retention") {
			r.Retention = duration(t, d, "retention", 0)
		}
		p := CommitPartition{Partition: int32(number(t, d, "partition", 0)), Offset: int64(number(t, d, "offset", 0)), LeaderEpoch: 3, Metadata: text(d, "metadata"), Timestamp: grouplog.NoTimestamp}
		if d.HasArg("long") {
			p.Metadata = strings.Repeat("ü", number(t, d, "long", 0))
		}
		r.Topics = []CommitTopic{{text(d, "topic"), []CommitPartition{p}}}
		if s.m.BeginCommit(s.now, r) == 0 {
			fmt.Fprintf(out, "refused: %s\n", r.Topics[0].Partitions[0].Err.Name())
			return
		}
		s.commits = append(s.commits, r)
		fmt.Fprintf(out, "in flight: c%d\n", len(s.commits)-1)
	case "committed":
		r := s.commits[number(t, d, "c", 0)]
		var err error
		if d.HasArg("err") {
			err = protocol.Error(number(t, d, "err", 0))
		}
		s.m.EndCommit(r, int64(number(t, d, "at", 0)), err)
		fmt.Fprintf(out, "outcome: %s\n", r.Topics[0].Partitions[0].Err.Name())
	case "fetch":
		r := &FetchRequest{Group: "g", RequireStable: d.HasArg("stable")}
		if d.HasArg("topic") {
			r.Topics = []FetchTopic{{text(d, "topic"), []int32{int32(number(t, d, "partition", 0))}}}
		}
		for _, x := range s.m.Fetch(r).Topics {
			for _, p := range x.Partitions {
				fmt.Fprintf(out, "%s-%d: %d epoch=%d %q %s\n", x.Topic, p.Partition, p.Offset, p.LeaderEpoch, p.Metadata, p.Err.Name())
			}
		}
	case "expire":
		gone, tombstone := s.m.Expire(s.now)
		fmt.Fprintf(out, "gone: %v tombstone=%v\n", gone, tombstone)
	case "drop":
		gone, tombstone := s.m.DropTopics(s.now, func(x string) bool { return x == text(d, "topic") })
		fmt.Fprintf(out, "gone: %v tombstone=%v\n", gone, tombstone)
	case "delete":
		gone, tombstone, err := s.m.Delete(s.now)
		fmt.Fprintf(out, "delete: %s gone: %v tombstone=%v\n", err.Name(), gone, tombstone)
	case "delete-offset":
		of := []OffsetDeletion{{TopicPartition: kafka.TopicPartition{Topic: text(d, "topic"), Partition: int32(number(t, d, "partition", 0))}}}
		gone, tombstone, err := s.m.DeleteOffsets(s.now, of)
		fmt.Fprintf(out, "delete: %s %s gone: %v tombstone=%v\n", err.Name(), of[0].Err.Name(), gone, tombstone)
	case "story":
		for _, g := range s.m.Story().Generations {
			fmt.Fprintf(out, "generation %d: %s\n  began=%d joined=%d assigned=%d members=%d leader=%q protocol=%q last=%q after %d ms\n",
				g.Generation, g.Cause, g.Began, g.Joined, g.Assigned, g.Members, g.Leader, g.Protocol, g.Last, g.LastAfter)
			if g.MissingCount+g.UnsyncedCount+g.Also > 0 || g.Failed != "" {
				fmt.Fprintf(out, "  missing=%d%v unsynced=%d%v also=%d failed=%q\n", g.MissingCount, g.Missing, g.UnsyncedCount, g.Unsynced, g.Also, g.Failed)
			}
		}
	case "txn-begin":
		s.m.offsets.begin(kafka.ProducerID(number(t, d, "producer", 0)), kafka.TopicPartition{Topic: text(d, "topic")},
			committed{int64(number(t, d, "offset", 0)), 3, "", 0, grouplog.NoExpiration, int64(number(t, d, "at", 0))})
	case "txn-end":
		s.m.offsets.end(kafka.ProducerID(number(t, d, "producer", 0)), d.HasArg("commit"))
	default:
		t.Fatalf("%s: unknown command %s", d.Pos, d.Cmd)
	}
}

func text(d *datadriven.TestData, key string) string {
	i := slices.IndexFunc(d.CmdArgs, func(a datadriven.CmdArg) bool { return a.Key == key })
	if i < 0 || len(d.CmdArgs[i].Vals) == 0 {
		return ""
	}
	return d.CmdArgs[i].Vals[0]
}

func optional(d *datadriven.TestData, key string) *string {
	if !d.HasArg(key) {
		return nil
	}
	s := text(d, key)
	return &s
}

func number(t *testing.T, d *datadriven.TestData, key string, otherwise int) int {
	n := otherwise
	if d.HasArg(key) {
		d.ScanArgs(t, key, &n)
	}
	return n
}

func duration(t *testing.T, d *datadriven.TestData, key string, otherwise time.Duration) time.Duration {
	if !d.HasArg(key) {
		return otherwise
	}
	v, err := time.ParseDuration(text(d, key))
	if err != nil {
		t.Fatalf("%s: %v", d.Pos, err)
	}
	return v
}

func show(s *string) string {
	if s == nil {
		return "null"
	}
	return *s
}
