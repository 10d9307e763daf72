package socket

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"barnabas/internal/vfs"
	"barnabas/net/frame"
)

// hostile serves requests whose body says how: a letter, and how large the reply is.
//
//	n  at once             e  parked, complete before Serve returns
//	p  parked, later       s  after a wait
//	f  ranges of a file    0  no reply
//	l  with a lease        w  after a wait that holds up a poller
//
// A reply begins with a checksum of its request's body.
type hostile struct {
	file vfs.File
	wg   sync.WaitGroup
}

// hostileRounds is how often each client of TestHostileClients comes.
var hostileRounds = flag.Int("hostile.rounds", 2, "")

const hostileKinds = "nnnnnnnneeppppppffss00ll"

// sumSize is the length of the checksum.
const sumSize = 4

func (h *hostile) reply(r *Request, kind byte, size int, sum uint32, lease *frame.Lease) Reply {
	o := r.NewOut()
	o.B = binary.BigEndian.AppendUint32(o.B, sum)
	if kind == 'f' {
		for size > 0 {
			n := min(size, 100_000)
			if err := o.AppendRange(vfs.Range{File: h.file, Length: int64(n)}); err != nil {
				return CloseConn(err)
			}
			size -= n
		}
		return Send(o)
	}
	o.Room(size)
	o.B = append(o.B, make([]byte, size)...)
	r.Charge(o, lease)
	return Send(o)
}

func (h *hostile) Serve(_ context.Context, r *Request) Reply {
	if len(r.Body) < 5 {
		return CloseConn(nil)
	}
	kind, size, sum := r.Body[0], int(binary.BigEndian.Uint32(r.Body[1:])), crc32.ChecksumIEEE(r.Body)
	var lease *frame.Lease
	switch kind {
	case '0':
		return NoReply()
	case 'e', 'p':
		from := *r
		p := r.Park(func() Reply { return h.reply(&from, 'f', size, sum, nil) }, func() {})
		if kind == 'e' {
			p.Complete()
		} else {
			h.wg.Add(1)
			time.AfterFunc(rand.N(3*time.Millisecond), func() { p.Complete(); p.Complete(); h.wg.Done() })
		}
		return Parked(p)
	case 's':
		<-time.After(rand.N(time.Millisecond))
	case 'w':
		<-time.After(50 * time.Millisecond)
	case 'l':
		var err error
		if lease, err = r.Lease(int64(max(size, 300<<10))); err != nil {
			return CloseConn(err)
		}
	}
	return h.reply(r, kind, size, sum, lease)
}

// asked is a request and how large its reply is, beside the checksum; -1 if there
// is none.
type asked struct {
	frame []byte
	reply int
	sum   uint32
}

// requests are n of the kinds.
func (h *hostile) requests(n int, kinds string) []asked {
	var all []asked
	for i := range n {
		kind := kinds[rand.IntN(len(kinds))]
		if rand.IntN(300) == 0 {
			kind = 'w'
		}
		key := []int16{produceKey, fetchKey}[rand.IntN(2)]
		if rand.IntN(20) == 0 {
			key, kind = metadataKey, 's'
		}
		size, body := rand.IntN(200), 1+rand.IntN(300)
		switch rand.IntN(40) {
		case 0:
			size = rand.IntN(1 << 20)
		case 1:
			body = 1 + rand.IntN(5<<20)
		case 2:
			body = 1 + rand.IntN(100<<10)
		}
		b := append(binary.BigEndian.AppendUint32([]byte{kind}, uint32(size)), make([]byte, body)...)
		b[len(b)-1] ^= byte(i)
		a := asked{request(key, 3, int32(i), string(b)), size, crc32.ChecksumIEEE(b)}
		if kind == '0' {
			a.reply = -1
		}
		all = append(all, a)
	}
	return all
}

// good asks and gets all answers in order, also if it says first that it asks for
// nothing more, or takes them only after a while.
func (h *hostile) good(c *net.TCPConn) error {
	halfClose, late := rand.IntN(3) == 0, rand.IntN(3) == 0
	kinds := hostileKinds
	if halfClose { // what is parked then is given up
		kinds = strings.ReplaceAll(kinds, "p", "n")
	}
	all := h.requests(100, kinds)
	sent := make(chan struct{})
	defer func() { _ = c.Close(); <-sent }()
	go func() {
		defer close(sent)
		for _, a := range all {
			for b := a.frame; len(b) > 0; {
				n := min(len(b), 1+rand.IntN(200<<10))
				if rand.IntN(10) == 0 {
					n = min(n, 3)
				}
				if _, err := c.Write(b[:n]); err != nil {
					return
				}
				b = b[n:]
			}
		}
		if halfClose {
			_ = c.CloseWrite()
		}
	}()
	if late {
		<-time.After(rand.N(300 * time.Millisecond))
	}
	var head [8 + sumSize]byte
	for i, a := range all {
		if a.reply < 0 {
			continue
		}
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return fmt.Errorf("reply %d: %w", i, err)
		}
		if n, id := int(binary.BigEndian.Uint32(head[:])), binary.BigEndian.Uint32(head[4:]); n != a.reply+4+sumSize || id != uint32(i) {
			return fmt.Errorf("reply %d has %d bytes, want %d of %d", id, n, a.reply+4+sumSize, i)
		}
		if sum := binary.BigEndian.Uint32(head[8:]); sum != a.sum {
			return fmt.Errorf("reply %d is for a request of sum %x, want %x", i, sum, a.sum)
		}
		if _, err := io.CopyN(io.Discard, c, int64(a.reply)); err != nil {
			return fmt.Errorf("reply %d: %w", i, err)
		}
	}
	return nil
}

// bad asks, and does what it likes.
func (h *hostile) bad(c *net.TCPConn, how int) {
	for _, a := range h.requests(1+rand.IntN(60), hostileKinds) {
		if how == 0 && rand.IntN(20) == 0 {
			a.frame = a.frame[:rand.IntN(len(a.frame))] // cut in the middle, and more after it
		}
		if _, err := c.Write(a.frame); err != nil {
			return
		}
	}
	switch how {
	case 1:
		_ = c.SetLinger(0) // RST
	case 2: // reads slowly, as long as there is something
		for range 5 {
			_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			if _, err := io.CopyN(io.Discard, c, 5000); err != nil {
				return
			}
			<-time.After(rand.N(20 * time.Millisecond))
		}
	case 3:
		_ = c.CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	case 4: // takes nothing until it is closed for that
		<-time.After(rand.N(100 * time.Millisecond))
	}
}

// TestHostileClients: clients that vanish, stall, cut and lie do not disturb others,
// and leave nothing behind.
func TestHostileClients(t *testing.T) {
	f, err := vfs.OS.Create(t.TempDir() + "/segment")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(200_000); err != nil {
		t.Fatal(err)
	}
	h := &hostile{file: f}
	descriptors := openFiles(t)
	goroutines := runtime.NumGoroutine()
	s := start(t, Options{WriteTimeout: 15 * time.Second, MaxIdle: 30 * time.Second, MaxRequestBytes: 6 << 20,
		MaxQueuedBytes: 8 << 20, MaxWorkBytes: 4 << 20, MaxPending: 8, MaxReadyBytes: 1 << 20}, h.Serve)
	addr := s.Addr("PLAINTEXT").(*net.TCPAddr)
	rounds := *hostileRounds
	var wg sync.WaitGroup
	client := func(f func(c *net.TCPConn)) {
		wg.Go(func() {
			for range rounds {
				c, err := net.DialTCP("tcp", nil, addr)
				if err != nil {
					t.Error(err)
					return
				}
				_ = c.SetDeadline(time.Now().Add(5 * limit))
				f(c)
				_ = c.Close()
			}
		})
	}
	for i := range 10 {
		client(func(c *net.TCPConn) { h.bad(c, i%5) })
		if i%2 == 0 {
			client(func(c *net.TCPConn) {
				if err := h.good(c); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	waitFor(t, "all connections to be gone", func() bool { return s.Connections() == 0 })
	waitFor(t, "the memory to be given back", func() bool { return s.Memory().Used == 0 && s.Work().Used == 0 })
	h.wg.Wait()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	waitFor(t, "descriptors and goroutines to be gone", func() bool {
		return openFiles(t) <= descriptors && runtime.NumGoroutine() <= goroutines+1
	})
}

func openFiles(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}
