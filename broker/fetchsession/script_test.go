package fetchsession

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"barnabas/protocol"
)

// TestScripts runs testdata. Commands:
//
//	cache slots=N                  a new cache, one shard
//	fetch id=N epoch=N [by-id] [follower] [forget=(t-0,…)]
//	    partitions, one per line: t-0 hw=N [start=N] [records] [error]
//	advance seconds=N
//
// A fetch prints what is to be read, the session (numbered by first sight) and
// what is told. Session ids in commands are these numbers; lines of a fetch
// without offset= only say what reading finds.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := &script{now: time.Unix(1000, 0)}
		datadriven.RunTest(t, path, s.run)
	})
}

type script struct {
	cache *Cache
	now   time.Time
	ids   []int32 // by number - 1
}

func (s *script) run(t *testing.T, d *datadriven.TestData) string {
	switch d.Cmd {
	case "cache":
		var slots int
		d.ScanArgs(t, "slots", &slots)
		s.cache, s.ids = New(slots), nil
		if slots > 1 { // one shard, so that eviction does not depend on luck
			one := New(1)
			one.shards[0].slots = slots
			s.cache = one
		}
		return ""
	case "advance":
		var sec int
		d.ScanArgs(t, "seconds", &sec)
		s.now = s.now.Add(time.Duration(sec) * time.Second)
		return ""
	case "fetch":
		return s.fetch(t, d)
	}
	d.Fatalf(t, "unknown command")
	return ""
}

func (s *script) id(n int) int32 {
	if n == 0 || n > len(s.ids) {
		return int32(n)
	}
	return s.ids[n-1]
}

func (s *script) number(id int32) int {
	if id == 0 {
		return 0
	}
	for i, x := range s.ids {
		if x == id {
			return i + 1
		}
	}
	s.ids = append(s.ids, id)
	return len(s.ids)
}

func key(t *testing.T, s string) Key {
	t.Helper()
	topic, p, ok := strings.Cut(s, "-")
	var n int32
	if _, err := fmt.Sscan(p, &n); err != nil || !ok {
		t.Fatalf("bad partition %q", s)
	}
	return Key{Topic: topic, Partition: n}
}

func (s *script) fetch(t *testing.T, d *datadriven.TestData) string {
	var id, epoch int
	d.ScanArgs(t, "id", &id)
	d.ScanArgs(t, "epoch", &epoch)
	req := Request{SessionID: s.id(id), Epoch: int32(epoch), ByID: d.HasArg("by-id"), As: As{Follower: -1}}
	if d.HasArg("follower") {
		req.As.Follower = 2
	}
	for _, a := range d.CmdArgs {
		if a.Key == "forget" {
			for _, v := range a.Vals {
				req.Forgotten = append(req.Forgotten, key(t, v))
			}
		}
	}
	found := map[Key]Found{}
	for line := range strings.Lines(d.Input) {
		words := strings.Fields(line)
		k := key(t, words[0])
		var f Found
		want := Partition{Key: k, Offset: -1}
		for _, w := range words[1:] {
			name, v, _ := strings.Cut(w, "=")
			switch name {
			case "hw":
				fmt.Sscan(v, &f.HighWatermark)
			case "start":
				fmt.Sscan(v, &f.LogStartOffset)
			case "offset":
				fmt.Sscan(v, &want.Offset)
			case "records":
				f.Records = true
			case "error":
				f.Failed, f.HighWatermark, f.LogStartOffset = true, -1, -1
			default:
				t.Fatalf("bad word %q", w)
			}
		}
		found[k] = f
		if want.Offset >= 0 {
			req.Partitions = append(req.Partitions, want)
		}
	}
	f := s.cache.Begin(s.now, &req, nil)
	var out strings.Builder
	if f.Err != protocol.None {
		return f.Err.Name() + "\n"
	}
	wants := f.Wants
	if f.Incremental() {
		wants, _, _ = f.Look(nil)
	}
	results := make([]Found, len(wants))
	for i, p := range wants {
		fmt.Fprintf(&out, "read %s-%d at %d\n", p.Topic, p.Key.Partition, p.Offset)
		results[i] = found[p.Key]
	}
	tell := make([]bool, len(results))
	got, err := f.Finish(s.now, wants, results, tell)
	if err != protocol.None {
		return out.String() + err.Name() + "\n"
	}
	for i, p := range wants {
		if tell[i] {
			fmt.Fprintf(&out, "tell %s-%d\n", p.Topic, p.Key.Partition)
		}
	}
	fmt.Fprintf(&out, "session %d, %d cached\n", s.number(got), s.cache.Len())
	return out.String()
}
