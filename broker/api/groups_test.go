package api

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/broker/group"
	"barnabas/cluster"
	"barnabas/internal/kafka"
)

// emptyStore is a group.Store that forgets.
type emptyStore struct {
	mu   sync.Mutex // guards next
	next int64
}

func (s *emptyStore) Append(_ int32, _ kafka.LeaderEpoch, _ []byte, _ time.Duration, done func(error)) (int64, error) {
	s.mu.Lock()
	s.next++
	base := s.next
	s.mu.Unlock()
	if done != nil {
		done(nil)
	}
	return base, nil
}

func (s *emptyStore) Read(context.Context, int32, func([]byte) error) error { return nil }

func (s *emptyStore) Settled(context.Context, int32) error { return nil }

// legacyOffsets are a group.LegacyOffsets in memory.
type legacyOffsets struct{ m sync.Map }

func (l *legacyOffsets) Offset(_ context.Context, group, topic string, partition int32) (int64, bool, error) {
	v, found := l.m.Load(fmt.Sprint(group, "/", topic, "/", partition))
	if !found {
		return 0, false, nil
	}
	return v.(int64), true, nil
}

func (l *legacyOffsets) SetOffset(_ context.Context, group, topic string, partition int32, offset int64) error {
	l.m.Store(fmt.Sprint(group, "/", topic, "/", partition), offset)
	return nil
}

// newGroupBroker is a broker that coordinates all groups and knows topic pr.
func newGroupBroker(t *testing.T) *broker {
	b := newBroker(t)
	g, err := group.New(group.Options{
		Store: &emptyStore{}, Partitions: func() int32 { return 1 }, Legacy: &legacyOffsets{}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	g.BecomeLeader(0, 1)
	await(t, func() bool { return g.Describe("x").Err == 0 })
	e := cluster.NewEdit(cluster.Empty())
	e.ReadBroker(&cluster.Broker{ID: 1, Epoch: 5, Zxid: 5, Endpoints: []cluster.Endpoint{{Listener: "PLAINTEXT", Host: "127.0.0.1", Port: 39092, Protocol: "PLAINTEXT"}}})
	e.ReadTopic(cluster.TopicRead{Name: "auto1", ID: kafka.TopicID{2}, Assignment: map[int32]cluster.Assignment{0: {Replicas: []kafka.BrokerID{1}}}, Zxid: 6})
	e.ReadTopic(cluster.TopicRead{Name: "pr", ID: idA, Assignment: map[int32]cluster.Assignment{0: {Replicas: []kafka.BrokerID{1}}, 1: {Replicas: []kafka.BrokerID{1}}}, Zxid: 6})
	im, _ := e.Publish()
	b.api.opt.Image = func() *cluster.Image { return im }
	b.api.opt.Groups = g
	return b
}

var memberIDs = regexp.MustCompile(`(cli|old|inst1)-[0-9a-f]{8}-[0-9a-f-]{27}`)

// normal makes answers comparable: members are numbered in the order in which
// names lists them, lists have an order, absent bytes are empty.
func normal(t *testing.T, line string, names *[]string) string {
	line = memberIDs.ReplaceAllStringFunc(line, func(id string) string {
		i := slices.Index(*names, id)
		if i < 0 {
			i = len(*names)
			*names = append(*names, id)
		}
		return fmt.Sprintf("member-%d", i)
	})
	var v map[string]any
	d := json.NewDecoder(strings.NewReader(line))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	out, err := json.MarshalIndent(simplify(v), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func simplify(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, x := range v {
			switch {
			case key == "TopicID" || key == "UnknownTags" || key == "ErrorMessage":
				delete(v, key)
			case x == nil && (key == "MemberAssignment" || key == "ProtocolMetadata"):
				v[key] = ""
			default:
				v[key] = simplify(x)
			}
		}
		return v
	case []any:
		if len(v) == 0 {
			return nil
		}
		out := make([]any, 0, len(v))
		for _, x := range v {
			// A refused join leaves no group here.
			if m, is := x.(map[string]any); !is || m["Group"] != "newg2" {
				out = append(out, simplify(x))
			}
		}
		slices.SortFunc(out, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		return out
	}
	return v
}

// TestGroupsAnswerAsKafka repeats a conversation with Apache Kafka 3.9.1.
func TestGroupsAnswerAsKafka(t *testing.T) {
	b := newGroupBroker(t)
	file, err := os.ReadFile("testdata/groups.txt")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	heading := regexp.MustCompile(`^(.*) v \d+ \d+m?s$`)
	for line := range strings.Lines(string(file)) {
		title, answer, _ := strings.Cut(strings.TrimSpace(line), " => ")
		want[heading.FindStringSubmatch(title)[1]] = answer
	}
	c := &conversation{t: t, want: want, cli: b.dial(), old: b.dial()}
	c.offsets()
	c.membership()
	c.static()
	c.leaving()
	for title := range want {
		t.Errorf("not asked: %s", title)
	}
}

// conversation asks and compares.
type conversation struct {
	t            *testing.T
	want         map[string]string
	cli, old     *client
	theirs, ours []string // names of members
}

func (c *conversation) ask(title string, version int16, req kmsg.Request) kmsg.Response {
	c.t.Helper()
	c.send(c.cli, "cli", version, req)
	return c.answer(c.cli, title, req)
}

func (c *conversation) send(conn *client, clientID string, version int16, req kmsg.Request) {
	req.SetVersion(version)
	conn.id++
	frame := kmsg.NewRequestFormatter(kmsg.FormatterClientID(clientID)).AppendRequest(nil, req, conn.id)
	if _, err := conn.nc.Write(frame); err != nil {
		c.t.Fatal(err)
	}
}

func (c *conversation) answer(conn *client, title string, req kmsg.Request) kmsg.Response {
	c.t.Helper()
	resp := receive[kmsg.Response](conn, req)
	got, err := json.Marshal(resp)
	if err != nil {
		c.t.Fatal(err)
	}
	want := c.want[title]
	if want == "" {
		c.t.Fatalf("no answer of Kafka to %q", title)
	}
	delete(c.want, title)
	if strings.HasSuffix(want, "…") { // cut
		i := strings.Index(want, `"Metadata":"ü`)
		if !bytes.Contains(got, []byte(strings.Trim(want[i:], "\ufffd…"))) {
			c.t.Errorf("%s: got %.300s", title, got)
		}
		return resp
	}
	if d := cmp.Diff(normal(c.t, want, &c.theirs), normal(c.t, string(got), &c.ours)); d != "" {
		c.t.Errorf("%s: -kafka +ours\n%s", title, d)
	}
	return resp
}

func ptr[T any](v T) *T { return &v }

func commitOf(group, topic string, partition int32, offset int64, metadata string) *kmsg.OffsetCommitRequest {
	r := kmsg.NewPtrOffsetCommitRequest()
	r.Group = group
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset, p.Metadata, p.LeaderEpoch = partition, offset, &metadata, 0
	x := kmsg.NewOffsetCommitRequestTopic()
	x.Topic, x.Partitions = topic, append(x.Partitions, p)
	r.Topics = append(r.Topics, x)
	return r
}

func fetchOf(version int16, group, topic string, partitions ...int32) *kmsg.OffsetFetchRequest {
	r := kmsg.NewPtrOffsetFetchRequest()
	if version < 8 {
		r.Group = group
		r.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: topic, Partitions: partitions}}
		return r
	}
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group, g.Topics = group, []kmsg.OffsetFetchRequestGroupTopic{{Topic: topic, Partitions: partitions}}
	r.Groups = append(r.Groups, g)
	return r
}

func (c *conversation) offsets() {
	long := strings.Repeat("x", 4097)
	c.ask("OffsetCommit v0 zk", 0, commitOf("zkg", "pr", 0, 7, ""))
	c.ask("OffsetCommit v0 zk unknown topic", 0, commitOf("zkg", "nosuch", 0, 7, ""))
	c.ask("OffsetCommit v0 zk again", 0, commitOf("zkg", "pr", 0, 8, ""))
	c.ask("OffsetCommit v0 zk big meta", 0, commitOf("zkg", "pr", 1, 8, long))
	c.ask("OffsetFetch v0", 0, fetchOf(0, "zkg", "pr", 0, 1))
	c.ask("OffsetFetch v0 unknown topic", 0, fetchOf(0, "zkg", "nosuch", 0))
	c.ask("OffsetFetch v1 zk group", 1, fetchOf(1, "zkg", "pr", 0, 1))
	c.ask("OffsetCommit simple", 9, commitOf("simple-g", "pr", 0, 5, "m"))
	c.ask("OffsetCommit simple v2 retention -1", 2, commitOf("simple-g", "pr", 1, 5, "m"))
	r := commitOf("gen-g", "pr", 1, 5, "")
	r.Generation = 3
	c.ask("OffsetCommit simple gen 3 unknown group", 9, r)
	r = commitOf("simple-g", "pr", 1, 5, "")
	r.MemberID = "m"
	c.ask("OffsetCommit simple member only", 9, r)
	c.ask("OffsetCommit unknown topic", 9, commitOf("simple-g", "nosuch", 0, 5, ""))
	c.ask("OffsetCommit unknown partition", 9, commitOf("simple-g", "pr", 99, 5, ""))
	c.ask("OffsetCommit big metadata", 9, commitOf("simple-g", "pr", 0, 5, long))
	c.ask("OffsetCommit 4096 two-byte chars", 9, commitOf("simple-g", "pr", 0, 5, strings.Repeat("ü", 4096)))
	c.ask("OffsetCommit empty group", 9, commitOf("", "pr", 0, 12, ""))
	c.ask("OffsetCommit negative offset", 9, commitOf("simple-g", "pr", 1, -7, ""))
	all := fetchOf(7, "simple-g", "")
	all.Topics = nil
	c.ask("OffsetFetch all", 7, all)
	all = fetchOf(9, "simple-g", "")
	all.Groups[0].Topics = nil
	c.ask("OffsetFetch all v8", 9, all)
	c.ask("OffsetFetch some", 5, fetchOf(5, "simple-g", "pr", 0, 1))
	c.ask("OffsetFetch unknown group", 9, fetchOf(9, "nogroup", "pr", 0))
	c.ask("OffsetFetch unknown topic", 9, fetchOf(9, "simple-g", "nosuch", 0))
	c.ask("OffsetFetch empty group", 9, fetchOf(9, "", "pr", 0))
	r1 := kmsg.NewPtrOffsetFetchRequest()
	r1.Group = "simple-g"
	c.ask("OffsetFetch all v1", 1, r1)
}

func joinOf(group, member string) *kmsg.JoinGroupRequest {
	r := kmsg.NewPtrJoinGroupRequest()
	r.Group, r.MemberID, r.ProtocolType = group, member, "consumer"
	r.SessionTimeoutMillis, r.RebalanceTimeoutMillis = 10000, 10000
	data, _ := base64.StdEncoding.DecodeString("AAEAAAABAAJwcgAAAAA=")
	r.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: data}}
	return r
}

func (c *conversation) refusals() {
	c.ask("Join unknown member unknown group", 9, joinOf("newg", "foo"))
	c.ask("Join empty group id", 9, joinOf("", ""))
	for title, ms := range map[string]int32{"Join low timeout": 1000, "Join high timeout": 2000000} {
		r := joinOf("newg", "")
		r.SessionTimeoutMillis = ms
		c.ask(title, 9, r)
	}
	r := joinOf("newg2", "")
	r.Protocols = nil
	c.ask("Join no protocols", 9, r)
	r = joinOf("newg2", "")
	r.ProtocolType = ""
	c.ask("Join no type", 9, r)
}

func syncOf(group, member string, generation int32) *kmsg.SyncGroupRequest {
	r := kmsg.NewPtrSyncGroupRequest()
	r.Group, r.MemberID, r.Generation, r.ProtocolType, r.Protocol = group, member, generation, ptr("consumer"), ptr("range")
	return r
}

func heartbeatOf(group, member string, generation int32) *kmsg.HeartbeatRequest {
	r := kmsg.NewPtrHeartbeatRequest()
	r.Group, r.MemberID, r.Generation = group, member, generation
	return r
}

func (c *conversation) membership() {
	c.refusals()
	m1 := c.ask("Join first", 9, joinOf("test-group", "")).(*kmsg.JoinGroupResponse).MemberID
	c.ask("Join with id", 9, joinOf("test-group", m1))
	d := kmsg.NewPtrDescribeGroupsRequest()
	d.Groups, d.IncludeAuthorizedOperations = []string{"test-group", "nogroup", "simple-g", ""}, true
	c.ask("Describe CompletingRebalance", 5, d)
	c.ask("Heartbeat completing", 4, heartbeatOf("test-group", m1, 1))
	c.ask("Heartbeat bad gen", 4, heartbeatOf("test-group", m1, 9))
	c.ask("Heartbeat bad member", 4, heartbeatOf("test-group", "nobody", 1))
	commit := commitOf("test-group", "pr", 0, 1, "")
	commit.Generation, commit.MemberID = 1, m1
	c.ask("OffsetCommit in CompletingRebalance", 9, commit)
	s := syncOf("test-group", m1, 1)
	s.ProtocolType, s.Protocol = nil, nil
	c.ask("Sync no type v5", 5, s)
	s = syncOf("test-group", m1, 1)
	s.ProtocolType = ptr("connect")
	c.ask("Sync wrong type v5", 5, s)
	c.ask("Sync bad gen", 5, syncOf("test-group", m1, 9))
	s = syncOf("test-group", m1, 1)
	s.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: m1, MemberAssignment: []byte("ASSIGN1")}}
	c.ask("Sync ok", 5, s)
	c.ask("Sync again stable", 5, syncOf("test-group", m1, 1))
	c.ask("Sync again stable v3", 3, syncOf("test-group", m1, 1))
	c.ask("Heartbeat stable", 4, heartbeatOf("test-group", m1, 1))
	c.ask("OffsetCommit member", 9, commit)
	c.ask("OffsetCommit simple into active", 9, commitOf("test-group", "pr", 0, 1, ""))
	commit.Generation = 9
	c.ask("OffsetCommit bad gen", 9, commit)
	d.Groups, d.IncludeAuthorizedOperations = []string{"test-group"}, false
	c.ask("Describe Stable", 5, d)
	c.lists()
	r := joinOf("test-group", "")
	r.ProtocolType = "connect"
	c.ask("Join other type", 9, r)
	r = joinOf("test-group", "")
	r.Protocols[0].Name = "foo"
	c.ask("Join no common proto", 9, r)
	c.deletions()
	c.rebalance(m1)
}

func deleteOf(groups ...string) *kmsg.DeleteGroupsRequest {
	r := kmsg.NewPtrDeleteGroupsRequest()
	r.Groups = groups
	return r
}

// deletions are those of groups at work.
func (c *conversation) deletions() {
	c.ask("DeleteGroups", 2, deleteOf("", "nogroup", "test-group"))
	offsets := func(group, topic string) *kmsg.OffsetDeleteRequest {
		r := kmsg.NewPtrOffsetDeleteRequest()
		r.Group = group
		r.Topics = []kmsg.OffsetDeleteRequestTopic{{Topic: topic, Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 0}}}}
		return r
	}
	c.ask("OffsetDelete subscribed", 0, offsets("test-group", "pr"))
	c.ask("OffsetDelete other topic", 0, offsets("test-group", "auto1"))
	c.ask("OffsetDelete no group", 0, offsets("nogroup", "pr"))
}

func (c *conversation) lists() {
	for title, f := range map[string]func(r *kmsg.ListGroupsRequest){
		"ListGroups": func(*kmsg.ListGroupsRequest) {},
		"ListGroups stable classic": func(r *kmsg.ListGroupsRequest) {
			r.StatesFilter, r.TypesFilter = []string{"stable"}, []string{"Classic"}
		},
		"ListGroups bogus":         func(r *kmsg.ListGroupsRequest) { r.StatesFilter = []string{"bogus"} },
		"ListGroups type consumer": func(r *kmsg.ListGroupsRequest) { r.TypesFilter = []string{"consumer"} },
	} {
		r := kmsg.NewPtrListGroupsRequest()
		f(r)
		c.ask(title, 5, r)
	}
}

// rebalance lets a second member in, and both leave.
func (c *conversation) rebalance(m1 string) {
	second := joinOf("test-group", "")
	c.send(c.old, "old", 3, second)
	beat := heartbeatOf("test-group", m1, 1)
	beat.SetVersion(4)
	await(c.t, func() bool { return call[*kmsg.HeartbeatResponse](c.cli, beat).ErrorCode != 0 })
	c.ask("Heartbeat during rebalance", 4, heartbeatOf("test-group", m1, 1))
	rejoin := joinOf("test-group", m1)
	c.send(c.cli, "cli", 9, rejoin)
	m2 := c.answer(c.old, "Join v3 second member", second).(*kmsg.JoinGroupResponse).MemberID
	c.answer(c.cli, "Join rejoin m1", rejoin)
	follower := syncOf("test-group", m2, 2)
	c.send(c.old, "old", 3, follower)
	leader := syncOf("test-group", m1, 2)
	leader.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: m1, MemberAssignment: []byte("L1")}}
	c.ask("Sync leader", 5, leader)
	c.answer(c.old, "Sync follower waits", follower)

	l := kmsg.NewPtrLeaveGroupRequest()
	l.Group, l.Members = "test-group", []kmsg.LeaveGroupRequestMember{{MemberID: m2}, {MemberID: "nobody"}}
	c.ask("Leave v5 m2+nobody", 5, l)
	l.Members, l.MemberID = nil, "nobody"
	c.ask("Leave v2 nobody", 2, l)
	l.MemberID = m1
	c.ask("Leave v2 m1", 2, l)
}

func (c *conversation) static() {
	join := func() *kmsg.JoinGroupRequest {
		r := joinOf("static-g", "")
		r.InstanceID = ptr("inst1")
		return r
	}
	m := c.ask("Static join", 9, join()).(*kmsg.JoinGroupResponse).MemberID
	s := syncOf("static-g", m, 1)
	s.InstanceID = ptr("inst1")
	s.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: m, MemberAssignment: []byte("SA")}}
	c.ask("Static sync", 5, s)
	again := c.ask("Static rejoin v9 without id", 9, join()).(*kmsg.JoinGroupResponse).MemberID
	now := c.ask("Static rejoin v5 without id", 5, join()).(*kmsg.JoinGroupResponse).MemberID
	h := heartbeatOf("static-g", again, 1)
	h.InstanceID = ptr("inst1")
	c.ask("Static heartbeat old id", 4, h)
	h.MemberID, h.InstanceID = now, ptr("inst9")
	c.ask("Static heartbeat unknown instance", 4, h)
}

func (c *conversation) leaving() {
	l := kmsg.NewPtrLeaveGroupRequest()
	l.Group, l.Members = "nogroup", []kmsg.LeaveGroupRequestMember{{MemberID: "nobody"}}
	c.ask("Leave unknown group", 5, l)
	l.Group, l.Members = "static-g", []kmsg.LeaveGroupRequestMember{{InstanceID: ptr("inst1")}}
	c.ask("Leave static admin", 5, l)
	c.ask("DeleteGroups at last", 2, deleteOf("static-g"))
	d := kmsg.NewPtrDescribeGroupsRequest()
	d.Groups = []string{"test-group", "static-g"}
	c.ask("Describe after", 5, d)
}
