package devzk_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"barnabas/internal/zktest"
	"barnabas/zkpaths/devzk"
)

// TestSameAnswersAsZooKeeper sends the same random requests to both servers and
// compares every reply and event. Zxids are compared by their order of first
// appearance, times only by being equal to an earlier one or not later.
func TestSameAnswersAsZooKeeper(t *testing.T) {
	if testing.Short() {
		return // needs Java
	}
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			connects := []string{zktest.Chroot(t, zktest.DevZK(t, devzk.Options{}).Addr()), zktest.Chroot(t, zktest.Real(t))}
			var traces [2][]string
			for i, connect := range connects {
				traces[i] = runScript(t, connect, rand.New(rand.NewPCG(seed, 1)), 600)
			}
			for i := range traces[0] {
				if traces[0][i] != traces[1][i] {
					from := max(i-12, 0)
					t.Fatalf("request %d:\ndevzk      %s\nzookeeper  %s\nbefore that:\n%s", i,
						traces[0][i], traces[1][i], strings.Join(traces[0][from:i], "\n"))
				}
			}
		})
	}
}

// runScript drives four sessions and gives a line for each exchange. The first
// two use one-shot watches, the others persistent and recursive ones: before
// 3.9 ZooKeeper forgets a persistent watch where the same client also arms a
// one-shot watch (ZOOKEEPER-4466).
func runScript(t *testing.T, connect string, rng *rand.Rand, n int) []string {
	addr, root := split(connect)
	clients := make([]*raw, 4)
	s := &script{rng: rng, root: root, zxids: map[int64]string{0: "0"}, sessions: map[int64]string{0: "none"}}
	for i := range clients {
		clients[i] = dialRaw(t, addr, 10000, 0, 0, nil)
		s.sessions[clients[i].session] = fmt.Sprint("session", i)
	}
	var lines []string
	for range n {
		i := rng.IntN(len(clients))
		name, op, body := s.request(i)
		p, events := clients[i].call(op, body)
		// Who watches with several connections hears in any order; one connection
		// hears all before its next reply.
		lines = append(lines, fmt.Sprintf("%d %s -> %d %s %v", i, name, p.err, s.show(op, p), events))
	}
	for i, c := range clients {
		_, events := c.call(opSync, buf{}.str(root))
		slices.Sort(events) // ephemerals end in the order of a hash table
		lines = append(lines, fmt.Sprint(i, " at the end ", events))
		c.must(opCloseSession, nil)
	}
	for i, line := range lines {
		lines[i] = strings.ReplaceAll(line, root, "")
	}
	return lines
}

type script struct {
	rng      *rand.Rand
	root     string
	zxids    map[int64]string
	sessions map[int64]string
}

var names = []string{"a", "b", "c", "a/x", "a/y", "b/x", "a/x/k", "seq", "a//b", "a/.", "é", "\u0001", "a/"}

func (s *script) path() string {
	// Mostly good ones.
	if s.rng.IntN(12) > 0 {
		return s.root + "/" + names[s.rng.IntN(8)]
	}
	return s.root + "/" + names[s.rng.IntN(len(names))]
}

func (s *script) version() int32 { return int32(s.rng.IntN(4) - 1) }

func (s *script) data() []byte {
	return [][]byte{nil, {}, []byte("x"), []byte("longer")}[s.rng.IntN(4)]
}

func (s *script) request(client int) (string, int32, buf) {
	p := s.path()
	watch := client < 2 && s.rng.IntN(2) == 0
	switch s.rng.IntN(18) {
	case 0, 1, 2, 3:
		mode := int32(s.rng.IntN(5))
		op := []int32{opCreate, opCreate2}[s.rng.IntN(2)]
		if mode == 4 {
			op = opCreateContainer
		}
		return fmt.Sprintf("create %s mode %d op %d", p, mode, op), op, buf{}.create(p, s.data(), mode)
	case 4, 5:
		v := s.version()
		return fmt.Sprintf("delete %s %d", p, v), opDelete, buf{}.str(p).i32(v)
	case 6, 7:
		v := s.version()
		return fmt.Sprintf("set %s %d", p, v), opSetData, buf{}.str(p).bytes(s.data()).i32(v)
	case 8, 9:
		return fmt.Sprintf("exists %s %v", p, watch), opExists, buf{}.str(p).bool(watch)
	case 10:
		return fmt.Sprintf("get %s %v", p, watch), opGetData, buf{}.str(p).bool(watch)
	case 11:
		return fmt.Sprintf("children2 %s %v", p, watch), opGetChildren2, buf{}.str(p).bool(watch)
	case 12:
		return fmt.Sprintf("children2 / %v", watch), opGetChildren2, buf{}.str(s.root).bool(watch)
	case 13:
		return s.acl(p)
	case 14:
		return s.watchRequest(client, p)
	case 15:
		return "all children " + p, opAllChildren, buf{}.str(p)
	default:
		return s.multi()
	}
}

func (s *script) acl(p string) (string, int32, buf) {
	switch s.rng.IntN(4) {
	case 0:
		return "getACL " + p, opGetACL, buf{}.str(p)
	case 1:
		v := s.version()
		return fmt.Sprintf("setACL %s %d", p, v), opSetACL, buf{}.str(p).world().i32(v)
	case 2:
		return "create without acl " + p, opCreate, buf{}.str(p).bytes(nil).i32(0).i32(0)
	}
	return "create for nobody " + p, opCreate, buf{}.str(p).bytes(nil).i32(1).i32(31).str("auth").str("").i32(0)
}

func (s *script) watchRequest(client int, p string) (string, int32, buf) {
	switch s.rng.IntN(4) {
	case 0:
		if client < 2 {
			break
		}
		mode := int32(client - 2)
		return fmt.Sprintf("addWatch %s %d", p, mode), opAddWatch, buf{}.str(p).i32(mode)
	case 1, 2:
		return "removeWatches " + p, opRemoveWatches, buf{}.str(p).i32(3)
	}
	return "sync " + p, opSync, buf{}.str(p)
}

func (s *script) multi() (string, int32, buf) {
	if s.rng.IntN(4) == 0 {
		p, q := s.path(), s.path()
		return fmt.Sprintf("multiRead %s %s", p, q), opMultiRead,
			buf{}.op(opGetData, buf{}.str(p).bool(false)).op(opGetChildren, buf{}.str(q).bool(false)).end()
	}
	var b buf
	name := "multi"
	for range 1 + s.rng.IntN(4) {
		p, v := s.path(), s.version()
		switch s.rng.IntN(5) {
		case 0:
			name += " create " + p
			b = b.op(opCreate, buf{}.create(p, s.data(), int32(s.rng.IntN(4))))
		case 1:
			name += " create2 " + p
			b = b.op(opCreate2, buf{}.create(p, s.data(), 0))
		case 2:
			name += fmt.Sprintf(" delete %s %d", p, v)
			b = b.op(opDelete, buf{}.str(p).i32(v))
		case 3:
			name += fmt.Sprintf(" set %s %d", p, v)
			b = b.op(opSetData, buf{}.str(p).bytes(s.data()).i32(v))
		case 4:
			name += fmt.Sprintf(" check %s %d", p, v)
			b = b.op(opCheck, buf{}.str(p).i32(v))
		}
	}
	return name, opMulti, b.end()
}

// show decodes a reply into what both servers must agree on.
func (s *script) show(op int32, p reply) string {
	if p.err != 0 {
		if len(p.body) > 0 {
			return fmt.Sprintf("body %x", p.body)
		}
		return ""
	}
	d := &dec{b: p.body}
	out := s.showBody(op, d)
	if len(d.b) > 0 {
		out += fmt.Sprintf(" and %d bytes more: %x", len(d.b), d.b)
	}
	return out
}

func (s *script) showBody(op int32, d *dec) string {
	switch op {
	case opCreate, opSync:
		return d.str()
	case opCreate2, opCreateContainer:
		return d.str() + " " + s.stat(d)
	case opExists, opSetData, opSetACL:
		return s.stat(d)
	case opGetData:
		return fmt.Sprintf("%#v %s", d.bytes(), s.stat(d))
	case opGetChildren:
		return s.children(d)
	case opGetChildren2:
		return s.children(d) + " " + s.stat(d)
	case opGetACL:
		out := ""
		for range d.i32() {
			out += fmt.Sprint(d.i32(), " ", d.str(), " ", d.str(), " ")
		}
		return out + s.stat(d)
	case opAddWatch, opAllChildren:
		return fmt.Sprint(d.i32())
	case opMulti, opMultiRead:
		var out []string
		for {
			kind, done, err := d.i32(), d.bool(), d.i32()
			if done {
				return fmt.Sprint(out, kind, err)
			}
			body := ""
			if kind == -1 {
				body = fmt.Sprint("error ", d.i32())
			} else if kind != opCheck && kind != opDelete {
				body = s.showBody(kind, d)
			}
			out = append(out, fmt.Sprint(kind, " ", err, " ", body))
		}
	}
	return ""
}

func (s *script) children(d *dec) string {
	var list []string
	for range d.i32() {
		list = append(list, d.str())
	}
	slices.Sort(list) // ZooKeeper gives them in the order of a hash table
	return fmt.Sprint(list)
}

func (s *script) zxid(z int64) string {
	if s.zxids[z] == "" {
		s.zxids[z] = fmt.Sprint("z", len(s.zxids))
	}
	return s.zxids[z]
}

func (s *script) stat(d *dec) string {
	czxid, mzxid, ctime, mtime := d.i64(), d.i64(), d.i64(), d.i64()
	out := fmt.Sprintf("{c %s m %s v %d cv %d av %d", s.zxid(czxid), s.zxid(mzxid), d.i32(), d.i32(), d.i32())
	owner := s.sessions[d.i64()]
	out += fmt.Sprintf(" owner %s len %d children %d", owner, d.i32(), d.i32())
	pzxid := d.i64()
	ok := czxid <= mzxid && czxid <= pzxid && ctime <= mtime && (mzxid != czxid || ctime == mtime)
	return out + fmt.Sprintf(" p %s sane %v}", s.zxid(pzxid), ok)
}
