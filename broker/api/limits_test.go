package api

import (
	"runtime"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/protocol"
)

// A request weighs what its reply will take, as far as replies of its kind tell.
func TestWeigh(t *testing.T) {
	var s sizes
	if w := s.weigh(protocol.KeyHeartbeat, 100, 0); w > 1000 {
		t.Errorf("a heartbeat weighs %d", w)
	}
	first := s.weigh(protocol.KeyMetadata, 10, 0)
	if first < firstReply {
		t.Errorf("all topics weigh %d before it is known how many there are", first)
	}
	s.note(protocol.KeyMetadata, 0, 3<<20)
	if w := s.weigh(protocol.KeyMetadata, 10, 0); w < 3<<20 || w > 16<<20 {
		t.Errorf("all topics weigh %d after a reply of 3 MiB", w)
	}
	if w := s.weigh(protocol.KeyMetadata, 100, 20); w > 16<<10 {
		t.Errorf("20 topics weigh %d", w)
	}
	s.note(protocol.KeyDescribeConfigs, 10, 200_000)
	if w := s.weigh(protocol.KeyDescribeConfigs, 100, 100); w < 2_000_000 {
		t.Errorf("100 configs weigh %d after 10 made 200 kB", w)
	}
	for range 200 { // topics went
		s.note(protocol.KeyMetadata, 0, 1000)
	}
	if w := s.weigh(protocol.KeyMetadata, 10, 0); w > 16<<10 {
		t.Errorf("all topics weigh %d after many replies of 1000 bytes", w)
	}
}

// What members sent is counted for as long as somebody has it.
func TestKept(t *testing.T) {
	k := kept{most: 1 << 20}
	bodies := [][]byte{make([]byte, 500<<10), make([]byte, 500<<10)}
	for _, b := range bodies {
		if !k.add(b) {
			t.Fatal("no room")
		}
	}
	part := bodies[0][1000:1010] // as a member keeps it
	if !k.add(make([]byte, smallBody)) {
		t.Error("a small one has no room")
	}
	if k.add(make([]byte, 500<<10)) {
		t.Error("room for three")
	}
	runtime.KeepAlive(bodies)
	bodies = nil
	wait(t, func() bool { runtime.GC(); return k.bytes.Load() == 500<<10 })
	if !k.add(make([]byte, 500<<10)) {
		t.Error("no room though one has gone")
	}
	runtime.KeepAlive(part)

	join := kmsg.NewPtrJoinGroupRequest()
	join.MemberID = "m"
	for size, want := range map[int]protocol.Error{500 << 10: protocol.CoordinatorLoadInProgress, 2 << 20: protocol.UnknownServerError} {
		if r := k.noRoom(join, size).(*kmsg.JoinGroupResponse); r.ErrorCode != want.Code() || r.MemberID != "m" {
			t.Errorf("%d bytes: %+v", size, r)
		}
		if r := k.noRoom(kmsg.NewPtrSyncGroupRequest(), size).(*kmsg.SyncGroupResponse); r.ErrorCode != want.Code() {
			t.Errorf("%d bytes: %+v", size, r)
		}
	}
}

func wait(t *testing.T, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !cond(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatal("waited in vain")
		}
	}
}
