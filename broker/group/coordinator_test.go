package group

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"barnabas/internal/kafka"
	"barnabas/log/batch"
	"barnabas/protocol"
	"barnabas/protocol/grouplog"
)

// led starts a coordinator that has loaded its partition. Only in a bubble.
func led(t *testing.T, s *memStore, cfg Config) *Coordinator {
	c := start(t, s, cfg)
	c.BecomeLeader(0, 1)
	synctest.Wait()
	return c
}

func joining(group, member string) *JoinRequest {
	return &JoinRequest{
		Group: group, MemberID: member, ClientID: "c", ClientHost: "/127.0.0.1", ProtocolType: "consumer", RequireMemberID: true,
		SessionTimeout: 10 * time.Second, RebalanceTimeout: time.Minute, Protocols: []Protocol{{"range", subscribe("t")}},
	}
}

func committing(group string, generation int32, member string, offset int64) *CommitRequest {
	return &CommitRequest{
		Group: group, Generation: generation, MemberID: member, Retention: NoRetention,
		Topics: []CommitTopic{{"t", []CommitPartition{{Partition: 0, Offset: offset, LeaderEpoch: 2, Metadata: "x", Timestamp: grouplog.NoTimestamp}}}},
	}
}

// consumer joins a group as clients of version 4 do, and brings it to its
// assignment; as leader it gives everybody its own id.
func consumer(ctx context.Context, c *Coordinator, group string) (id string, generation int32, assigned string, err protocol.Error) {
	r := joining(group, "")
	res := c.Join(ctx, r)
	if res.Err != errMemberIDRequired {
		return "", 0, "", res.Err
	}
	return rejoin(ctx, c, group, res.MemberID)
}

func rejoin(ctx context.Context, c *Coordinator, group, member string) (id string, generation int32, assigned string, err protocol.Error) {
	res := c.Join(ctx, joining(group, member))
	if res.Err != ok {
		return member, 0, "", res.Err
	}
	sync := &SyncRequest{Group: group, Generation: res.Generation, MemberID: member, ProtocolType: res.ProtocolType, Protocol: res.Protocol}
	for _, m := range res.Members {
		sync.Assignments = append(sync.Assignments, Assignment{m.MemberID, []byte(m.MemberID)})
	}
	s := c.Sync(ctx, sync)
	return member, res.Generation, string(s.Assignment), s.Err
}

func TestJourney(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemStore()
		s.lag = 20 * time.Millisecond
		c := led(t, s, Config{InitialRebalanceDelay: 3 * time.Second})
		began := time.Now()
		done := make(chan string, 2)
		for range 2 {
			go func() {
				id, generation, assigned, err := consumer(t.Context(), c, "g")
				if err != ok || generation != 1 || assigned != id {
					t.Errorf("%s got %q in generation %d: %v", id, assigned, generation, err)
				}
				done <- id
			}()
		}
		a, b := <-done, <-done
		if d := time.Since(began); d != 6*time.Second+s.lag {
			t.Errorf("the first generation took %s", d)
		}
		r := c.Commit(t.Context(), committing("g", 1, a, 42))
		if err := r.Topics[0].Partitions[0].Err; err != ok {
			t.Errorf("commit: %v", err)
		}
		if err := c.Heartbeat(&HeartbeatRequest{Group: "g", Generation: 1, MemberID: b}); err != ok {
			t.Errorf("heartbeat: %v", err)
		}
		want := []FetchedTopic{{"t", []FetchedPartition{{0, 42, 2, "x", ok}}}}
		if d := cmp.Diff(want, c.Fetch(&FetchRequest{Group: "g"}).Topics); d != "" {
			t.Error(d)
		}

		// Another broker takes over.
		c.Resign(0, 2)
		if err := c.Heartbeat(&HeartbeatRequest{Group: "g", Generation: 1, MemberID: b}); err != errNotCoordinator {
			t.Errorf("heartbeat after resigning: %v", err)
		}
		c2 := start(t, s, Config{})
		c2.BecomeLeader(0, 2)
		synctest.Wait()
		if d := cmp.Diff(want, c2.Fetch(&FetchRequest{Group: "g"}).Topics); d != "" {
			t.Error(d)
		}
		x := c2.Describe("g")
		if x.State != "Stable" || len(x.Members) != 2 || x.Protocol != "range" || string(x.Members[0].Assignment) != x.Members[0].MemberID {
			t.Errorf("after the load: %+v", x)
		}
		if err := c2.Heartbeat(&HeartbeatRequest{Group: "g", Generation: 1, MemberID: b}); err != ok {
			t.Errorf("heartbeat after the load: %v", err)
		}
		for i, h := range s.headers(0) {
			wantSequence := []int32{batch.Absent, 0}[i]
			if h.BaseSequence != wantSequence || h.ProducerID != batch.Absent || h.ProducerEpoch != batch.Absent || h.Transactional() {
				t.Errorf("batch %d: %+v", i, h)
			}
		}
	})
}

func TestSessionsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := led(t, newMemStore(), Config{})
		id, generation, _, err := consumer(t.Context(), c, "g")
		if err != ok {
			t.Fatal(err)
		}
		for range 10 {
			time.Sleep(9 * time.Second)
			if err := c.Heartbeat(&HeartbeatRequest{Group: "g", Generation: generation, MemberID: id}); err != ok {
				t.Fatalf("heartbeat: %v", err)
			}
		}
		time.Sleep(11 * time.Second)
		if got := c.Describe("g").State; got != "Empty" {
			t.Errorf("state %s", got)
		}
		if err := c.Heartbeat(&HeartbeatRequest{Group: "g", Generation: generation, MemberID: id}); err != errUnknownMember {
			t.Errorf("heartbeat of an expired member: %v", err)
		}
	})
}

func TestWaitersEndWithTheirCoordinator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := led(t, newMemStore(), Config{InitialRebalanceDelay: time.Hour})
		got := make(chan protocol.Error, 1)
		go func() {
			_, _, _, err := consumer(t.Context(), c, "g")
			got <- err
		}()
		synctest.Wait()
		c.Resign(0, 1)
		if err := <-got; err != errNotCoordinator {
			t.Errorf("join: %v", err)
		}
	})
}

func TestCancelledJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := led(t, newMemStore(), Config{InitialRebalanceDelay: time.Minute})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		id, _, _, err := consumer(ctx, c, "g")
		if err != errUnknownServer {
			t.Errorf("join: %v", err)
		}
		// It comes back on another connection and is part of the generation.
		id, generation, assigned, err := rejoin(t.Context(), c, "g", id)
		if err != ok || generation != 1 || assigned != id {
			t.Errorf("second join: generation %d, %q, %v", generation, assigned, err)
		}
	})
}

func TestEpochs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemStore()
		c := led(t, s, Config{})
		led := func() bool {
			synctest.Wait()
			return c.Describe("g").Err == ok
		}
		for _, x := range []struct {
			what string
			call func()
			want bool
		}{
			{"lead 4", func() { c.BecomeLeader(0, 4) }, true},
			{"resign from 3", func() { c.Resign(0, 3) }, true},
			{"lead 2", func() { c.BecomeLeader(0, 2) }, true},
			{"resign from 4", func() { c.Resign(0, 4) }, false},
			{"lead 3", func() { c.BecomeLeader(0, 3) }, false},
			{"lead 4 again", func() { c.BecomeLeader(0, 4) }, true},
			{"follow in 5", func() { c.Resign(0, 5) }, false},
			{"lead 4 late", func() { c.BecomeLeader(0, 4) }, false},
			{"resign from another", func() { c.Resign(7, 9) }, false},
			{"close", c.Close, false},
			{"lead when closed", func() { c.BecomeLeader(0, 9) }, false},
		} {
			x.call()
			if got := led(); got != x.want {
				t.Errorf("%s: led %v", x.what, got)
			}
		}
		if s.reads != 2 {
			t.Errorf("%d loads", s.reads)
		}
	})
}

func TestRequestsDuringLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemStore()
		s.hold, s.unsettled = make(chan struct{}), make(chan struct{})
		c := led(t, s, Config{})
		if res := c.Join(t.Context(), joining("g", "")); res.Err != errLoading {
			t.Errorf("join: %v", res.Err)
		}
		if res := c.Sync(t.Context(), &SyncRequest{Group: "g"}); res.Err != errRebalancing {
			t.Errorf("sync: %v", res.Err)
		}
		if err := c.Heartbeat(&HeartbeatRequest{Group: "g"}); err != ok {
			t.Errorf("heartbeat: %v", err)
		}
		if res := c.Leave(&LeaveRequest{Group: "g"}); res.Err != errLoading {
			t.Errorf("leave: %v", res.Err)
		}
		if r := c.Commit(t.Context(), committing("g", -1, "", 1)); r.Topics[0].Partitions[0].Err != errLoading {
			t.Errorf("commit: %v", r.Topics[0].Partitions[0].Err)
		}
		if res := c.Fetch(&FetchRequest{Group: "g"}); res.Err != errLoading {
			t.Errorf("fetch: %v", res.Err)
		}
		if x := c.Describe("g"); x.Err != errLoading {
			t.Errorf("describe: %+v", x)
		}
		if _, err := c.List(nil, nil); err != errLoading {
			t.Errorf("list: %v", err)
		}
		close(s.hold)
		synctest.Wait()
		if res := c.Fetch(&FetchRequest{Group: "g"}); res.Err != errLoading {
			t.Errorf("fetch of what other replicas may not have: %v", res.Err)
		}
		if len(c.loads) != 0 {
			t.Errorf("%d loads are under way while replicas are waited for", len(c.loads))
		}
		close(s.unsettled)
		synctest.Wait()
		if _, err := c.List(nil, nil); err != ok {
			t.Errorf("list after the load: %v", err)
		}
	})
}

func TestLoadIsRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemStore()
		s.fail = errors.New("disk is slow")
		c := led(t, s, Config{})
		time.Sleep(5 * time.Second)
		s.set(func(s *memStore) { s.fail = nil })
		time.Sleep(2 * time.Second)
		if _, err := c.List(nil, nil); err != ok {
			t.Errorf("list: %v", err)
		}
		if s.reads < 3 {
			t.Errorf("%d reads", s.reads)
		}
	})
}

// TestLoadsGolden loads the transactional commit that Apache Kafka wrote.
func TestLoadsGolden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemStore()
		s.logs[0] = batches(t, "transaction.log")
		c := led(t, s, Config{})
		want := []FetchedTopic{{"golden", []FetchedPartition{{0, 123, 0, "tx meta", ok}}}}
		if d := cmp.Diff(want, c.Fetch(&FetchRequest{Group: "test-group", RequireStable: true}).Topics); d != "" {
			t.Error(d)
		}
		// Without its marker the transaction is open.
		s.logs[0] = s.logs[0][:1]
		c2 := led(t, s, Config{})
		got := c2.Fetch(&FetchRequest{Group: "test-group", RequireStable: true, Topics: []FetchTopic{{"golden", []int32{0}}}})
		if got.Topics[0].Partitions[0].Err != errUnstableOffset {
			t.Errorf("open transaction: %+v", got)
		}
	})
}

// TestLoadSkipsDamage: a batch that is damaged, or whose records can't be read, costs
// the commits that are in it, and is named; the groups of its partition are served.
func TestLoadSkipsDamage(t *testing.T) {
	for name, damage := range map[string]func(b []byte) []byte{
		"wrong checksum":           func(b []byte) []byte { b[len(b)-3]++; return b },
		"unreadable, checksum new": func(b []byte) []byte { b[batch.HeaderSize] = 0x7e; return withCRC(b) },
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newMemStore()
			first := led(t, s, Config{})
			for offset := range int64(3) {
				first.Commit(t.Context(), committing("g", -1, "", 10+offset))
				first.Commit(t.Context(), committing("h", -1, "", 20+offset))
			}
			s.set(func(s *memStore) {
				last := len(s.logs[0]) - 2 // g's
				s.logs[0][last] = damage(bytes.Clone(s.logs[0][last]))
			})
			var out bytes.Buffer
			c, err := New(Options{Store: s, Partitions: func() int32 { return 1 }, Logger: slog.New(slog.NewTextHandler(&out, nil))})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.BecomeLeader(0, 2)
			time.Sleep(10 * time.Second)
			synctest.Wait()
			for group, want := range map[string]int64{"g": 11, "h": 22} {
				got := c.Fetch(&FetchRequest{Group: group, Topics: []FetchTopic{{"t", []int32{0}}}})
				if got.Err != ok || got.Topics[0].Partitions[0].Offset != want {
					t.Errorf("%s: %s: %+v, want offset %d", name, group, got, want)
				}
			}
			if text := out.String(); !strings.Contains(text, "level=ERROR") || !strings.Contains(text, "batch at offset 4") {
				t.Errorf("%s: logged:\n%s", name, text)
			}
		})
	}
}

// withCRC gives a batch the checksum that it should have.
func withCRC(b []byte) []byte {
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// TestLoadsOldVersions: bad records are skipped, groups of all versions load.
func TestLoadsOldVersions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemStore()
		s.logs[0] = batches(t, "versions.log")
		c := led(t, s, Config{})
		list, _ := c.List([]string{"stable"}, []string{"CLASSIC"})
		if d := cmp.Diff([]Listed{{"g", "p", Stable}}, list); d != "" {
			t.Error(d)
		}
	})
}

func TestNothingOfAnOldTenureIsAppended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemStore()
		c := led(t, s, Config{})
		g, _ := c.lock("g", true)
		g.mu.Unlock()
		c.Resign(0, 2)
		c.BecomeLeader(0, 3)
		synctest.Wait()
		s.set(func(s *memStore) { s.epoch[0] = 3 })
		if r := c.Commit(t.Context(), committing("h", -1, "", 1)); r.Topics[0].Partitions[0].Err != ok {
			t.Errorf("commit in the new epoch: %v", r.Topics[0].Partitions[0].Err)
		}
		var got error
		a := g.writing(Write{1, &grouplog.GroupValue{}})
		a.done = func(_ int64, err error) { got = err }
		g.p.appends.add(a)
		c.drain(g.p)
		if protocol.CodeOf(got) != protocol.NotLeaderOrFollower {
			t.Errorf("append of the old tenure: %v", got)
		}
	})
}

func TestCommitOutcomes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemStore()
		c := led(t, s, Config{CommitTimeout: time.Second})
		commit := func() protocol.Error {
			return c.Commit(t.Context(), committing("g", -1, "", 1)).Topics[0].Partitions[0].Err
		}
		s.set(func(s *memStore) { s.lag = time.Minute })
		if got := commit(); got != errTimedOut {
			t.Errorf("slow replicas: %v", got)
		}
		if list, _ := c.List(nil, nil); len(list) != 0 {
			t.Errorf("a failed commit left %v", list)
		}
		s.set(func(s *memStore) { s.lag, s.lost = 0, protocol.NotEnoughReplicasAfterAppend })
		if got := commit(); got != errNotAvailable {
			t.Errorf("lost replicas: %v", got)
		}
		s.set(func(s *memStore) { s.lost, s.fail = nil, fmt.Errorf("wrapped: %w", protocol.NotLeaderOrFollower) })
		if got := commit(); got != errNotCoordinator {
			t.Errorf("not leader: %v", got)
		}
		s.set(func(s *memStore) { s.fail = nil })
		if got := commit(); got != ok {
			t.Errorf("at last: %v", got)
		}
	})
}

func TestExpiryWritesTombstones(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemStore()
		c := led(t, s, Config{OffsetsRetention: time.Hour, RetentionCheckInterval: time.Minute})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go c.Run(ctx)
		id, generation, _, err := consumer(t.Context(), c, "g")
		if err != ok {
			t.Fatal(err)
		}
		c.Commit(t.Context(), committing("g", generation, id, 7))
		if res := c.Leave(&LeaveRequest{Group: "g", Members: []LeavingMember{{MemberID: id}}}); res.Members[0].Err != ok {
			t.Fatal(res)
		}
		time.Sleep(59 * time.Minute)
		if list, _ := c.List(nil, nil); len(list) != 1 {
			t.Errorf("expired early: %v", list)
		}
		time.Sleep(3 * time.Minute)
		if list, _ := c.List(nil, nil); len(list) != 0 {
			t.Errorf("not expired: %v", list)
		}
		texts := s.texts(0)
		want := []string{
			`{"type":"1","data":{"group":"g","topic":"t","partition":0}} <DELETE>`,
			`{"type":"2","data":{"group":"g"}} <DELETE>`,
		}
		if d := cmp.Diff(want, texts[len(texts)-2:]); d != "" {
			t.Error(d)
		}
		c2 := led(t, s, Config{})
		if list, _ := c2.List(nil, nil); len(list) != 0 {
			t.Errorf("came back: %v", list)
		}
	})
}

func TestRefusalsBeforeAnyGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := led(t, newMemStore(), Config{})
		join := func(f func(r *JoinRequest)) protocol.Error {
			r := joining("g", "")
			f(r)
			return c.Join(t.Context(), r).Err
		}
		long := strings.Repeat("x", 40_000)
		for name, x := range map[string]struct{ got, want protocol.Error }{
			"empty id":         {join(func(r *JoinRequest) { r.Group = "" }), errInvalidGroupID},
			"long id":          {join(func(r *JoinRequest) { r.Group = long }), errInvalidGroupID},
			"long instance":    {join(func(r *JoinRequest) { r.InstanceID = &long }), errInvalidRequest},
			"long protocol":    {join(func(r *JoinRequest) { r.Protocols[0].Name = long }), errInvalidRequest},
			"short session":    {join(func(r *JoinRequest) { r.SessionTimeout = time.Second }), errSessionTimeout},
			"long session":     {join(func(r *JoinRequest) { r.SessionTimeout = time.Hour }), errSessionTimeout},
			"no protocols":     {join(func(r *JoinRequest) { r.Protocols = nil }), errInconsistentProtocol},
			"unknown member":   {join(func(r *JoinRequest) { r.MemberID = "x" }), errUnknownMember},
			"sync":             {c.Sync(t.Context(), &SyncRequest{Group: "g"}).Err, errUnknownMember},
			"heartbeat":        {c.Heartbeat(&HeartbeatRequest{Group: "g"}), errUnknownMember},
			"commit of member": {c.Commit(t.Context(), committing("g", 1, "x", 1)).Topics[0].Partitions[0].Err, errIllegalGeneration},
			"describe":         {c.Describe("g").Err, ok},
		} {
			if x.got != x.want {
				t.Errorf("%s: got %v, want %v", name, x.got, x.want)
			}
		}
		if list, _ := c.List(nil, nil); len(list) != 0 {
			t.Errorf("refused requests left %v", list)
		}
		if n := len(c.instances()); n != 0 {
			t.Errorf("%d groups are left", n)
		}
		leave := c.Leave(&LeaveRequest{Group: "g", Members: []LeavingMember{{MemberID: "x"}}})
		if leave.Err != ok || leave.Members[0].Err != errUnknownMember {
			t.Errorf("leave: %+v", leave)
		}
		if got := c.Describe("g").State; got != "Dead" {
			t.Errorf("described as %s", got)
		}
	})
}

// TestPendingMemberIsForgotten: an id that is given out and not used leaves
// nothing behind.
func TestPendingMemberIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := led(t, newMemStore(), Config{})
		if res := c.Join(t.Context(), joining("g", "")); res.Err != errMemberIDRequired {
			t.Fatal(res.Err)
		}
		if n := len(c.instances()); n != 1 {
			t.Errorf("%d groups while the id is valid", n)
		}
		time.Sleep(11 * time.Second)
		if n := len(c.instances()); n != 0 {
			t.Errorf("%d groups after it has expired", n)
		}
	})
}

func TestDropTopics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemStore()
		c := led(t, s, Config{})
		c.Commit(t.Context(), committing("g", -1, "", 1))
		c.DropTopics([]string{"t"})
		if list, _ := c.List(nil, nil); len(list) != 0 {
			t.Errorf("left: %v", list)
		}
		if texts := s.texts(0); !slices.Contains(texts, `{"type":"1","data":{"group":"g","topic":"t","partition":0}} <DELETE>`) {
			t.Errorf("no tombstone in %q", texts)
		}
	})
}

// TestDropTopicsDuringLoad: what is deleted while its offsets are being read does
// not come back with them.
func TestDropTopicsDuringLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemStore()
		c := led(t, s, Config{})
		c.Commit(t.Context(), committing("g", -1, "", 5))
		c.Resign(0, 2)
		hold := make(chan struct{})
		s.set(func(s *memStore) { s.hold = hold })
		c.BecomeLeader(0, 3)
		synctest.Wait()
		c.DropTopics([]string{"t"})
		close(hold)
		synctest.Wait()
		if d := c.Describe("g"); d.Err != ok || d.State != "Dead" {
			t.Errorf("%+v", d)
		}
		if texts := s.texts(0); !strings.Contains(texts[len(texts)-1], "<DELETE>") {
			t.Errorf("no tombstone: %v", texts)
		}
	})
}

// TestLoadsLeaveOneLine: all partitions that are loaded together are told of in
// one line of the log.
func TestLoadsLeaveOneLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemStore()
		first := led(t, s, Config{})
		first.Commit(t.Context(), committing("g", -1, "", 5))
		s.set(func(s *memStore) { s.logs[30] = s.logs[0] })
		var out bytes.Buffer
		c, err := New(Options{Store: s, Partitions: func() int32 { return 50 }, Logger: slog.New(slog.NewTextHandler(&out, nil))})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		load := func(epoch kafka.LeaderEpoch) {
			hold := make(chan struct{})
			s.set(func(s *memStore) { s.hold = hold })
			for i := range int32(50) {
				c.BecomeLeader(i, epoch)
			}
			synctest.Wait()
			close(hold)
			synctest.Wait()
		}
		load(3)
		for i := range int32(50) {
			c.Resign(i, 4)
		}
		load(5)
		if text := out.String(); strings.Count(text, "\n") != 4 || strings.Count(text, `msg="loaded consumer groups" partitions=50 groups=2 offsets=2 took=0s`) != 2 {
			t.Errorf("logged:\n%s", text)
		}
	})
}
