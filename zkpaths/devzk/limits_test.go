package devzk_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"barnabas/internal/zktest"
	"barnabas/zkpaths/devzk"
)

func TestFourLetterWords(t *testing.T) {
	ask := func(t *testing.T, addr, word string) string {
		t.Helper()
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, word); err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(c)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	zktest.Both(t, func(t *testing.T, connect string) {
		addr, _ := split(connect)
		for word, wants := range map[string][]string{
			"ruok": {"imok"},
			"isro": {"rw"},
			"srvr": {"Zookeeper version: 3.8", "Zxid: 0x", "Mode: standalone", "Node count: "},
			"stat": {"Clients:", "Mode: standalone"},
			"mntr": {"zk_server_state\tstandalone", "zk_znode_count\t", "zk_watch_count\t"},
		} {
			answer := ask(t, addr, word)
			for _, want := range wants {
				if !strings.Contains(answer, want) {
					t.Errorf("%s answered %q, which lacks %q", word, answer, want)
				}
			}
		}
	})
}

func TestMaxConnections(t *testing.T) {
	s := zktest.DevZK(t, devzk.Options{MaxConnections: 2})
	one := dialRaw(t, s.Addr(), 10000, 0, 0, nil)
	dialRaw(t, s.Addr(), 10000, 0, 0, nil)
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if b, err := io.ReadAll(c); len(b) > 0 {
		t.Fatalf("the third connection got %q, %v", b, err)
	}
	one.must(opSync, buf{}.str("/"))
	one.conn.Close()
	within(t, "there is room again", func() bool {
		c, err := net.Dial("tcp", s.Addr())
		if err != nil {
			return false
		}
		defer c.Close()
		if _, err := io.WriteString(c, "ruok"); err != nil {
			return false
		}
		b, _ := io.ReadAll(c)
		return string(b) == "imok"
	})
}

func TestMaxSessions(t *testing.T) {
	s := zktest.DevZK(t, devzk.Options{MaxSessions: 1})
	dialRaw(t, s.Addr(), 10000, 0, 0, nil)
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	hello := buf{}.i32(0).i64(0).i32(10000).i64(0).bytes(make([]byte, 16)).bool(false)
	if _, err := c.Write(append(buf{}.i32(int32(len(hello))), hello...)); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(c); len(b) > 0 {
		t.Fatalf("the second session got %x, %v", b, err)
	}
}

func TestMaxBytes(t *testing.T) {
	const quotaExceeded = -125
	s := zktest.DevZK(t, devzk.Options{MaxBytes: 100_000})
	r := dialRaw(t, s.Addr(), 10000, 0, 0, nil)
	big := make([]byte, 30_000)
	for i := range 3 {
		r.must(opCreate, buf{}.create(fmt.Sprint("/n", i), big, 0))
	}
	if p, _ := r.call(opCreate, buf{}.create("/n3", big, 0)); p.err != quotaExceeded {
		t.Fatalf("error %d, want %d", p.err, quotaExceeded)
	}
	if p, _ := r.call(opSetData, buf{}.str("/n0").bytes(make([]byte, 60_000)).i32(-1)); p.err != quotaExceeded {
		t.Fatalf("error %d, want %d", p.err, quotaExceeded)
	}
	r.must(opDelete, buf{}.str("/n1").i32(-1))
	r.must(opCreate, buf{}.create("/n3", big, 0))
}

// TestClientThatDoesNotRead is held back, and hurts nobody else.
func TestClientThatDoesNotRead(t *testing.T) {
	s := zktest.DevZK(t, devzk.Options{})
	r := dialRaw(t, s.Addr(), 2000, 0, 0, nil)
	r.must(opCreate, buf{}.create("/big", make([]byte, 1_000_000), 0))
	stuck := make(chan struct{})
	go func() {
		defer close(stuck)
		// 5 GB of answers, none of them read; the session expires over it.
		for range 5000 {
			body := append(buf{}.i32(1).i32(opGetData), buf{}.str("/big").bool(false)...)
			if _, err := r.conn.Write(append(buf{}.i32(int32(len(body))), body...)); err != nil {
				return
			}
		}
	}()
	other := dialRaw(t, s.Addr(), 30000, 0, 0, nil)
	within(t, "the session that reads nothing expires", func() bool {
		other.must(opSync, buf{}.str("/"))
		for _, ss := range s.Sessions() {
			if ss.ID == r.session {
				return false
			}
		}
		return true
	})
	<-stuck
}

func BenchmarkSetPipelined(b *testing.B) {
	s := zktest.DevZK(b, devzk.Options{Dir: b.TempDir()})
	r := dialRaw(b, s.Addr(), 10000, 0, 0, nil)
	r.must(opCreate, buf{}.create("/n", nil, 0))
	body := buf{}.str("/n").bytes(make([]byte, 200)).i32(-1)
	b.ReportAllocs()
	sent := 0
	for b.Loop() {
		r.send(opSetData, body)
		if sent++; sent%64 == 0 {
			for range 64 {
				if p, err := r.next(); err != nil || p.err != 0 {
					b.Fatal(p, err)
				}
			}
		}
	}
}

func BenchmarkGetOneByOne(b *testing.B) {
	s := zktest.DevZK(b, devzk.Options{})
	r := dialRaw(b, s.Addr(), 10000, 0, 0, nil)
	r.must(opCreate, buf{}.create("/n", make([]byte, 200), 0))
	body := buf{}.str("/n").bool(false)
	b.ReportAllocs()
	for b.Loop() {
		r.must(opGetData, body)
	}
}
