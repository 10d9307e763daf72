package devzk_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// The operations as ZooDefs.OpCode numbers them.
const (
	opCreate, opDelete, opExists, opGetData, opSetData           = 1, 2, 3, 4, 5
	opGetACL, opSetACL, opGetChildren, opSync, opPing            = 6, 7, 8, 9, 11
	opGetChildren2, opCheck, opMulti, opCreate2                  = 12, 13, 14, 15
	opRemoveWatches, opCreateContainer, opCreateTTL, opMultiRead = 18, 19, 21, 22
	opAuth, opSetWatches, opGetEphemerals, opAllChildren         = 100, 101, 103, 104
	opSetWatches2, opAddWatch, opWhoAmI, opCloseSession          = 105, 106, 107, -11
)

// buf builds jute bodies; its methods chain.
type buf []byte

func (b buf) i32(v int32) buf { return binary.BigEndian.AppendUint32(b, uint32(v)) }
func (b buf) i64(v int64) buf { return binary.BigEndian.AppendUint64(b, uint64(v)) }
func (b buf) bool(v bool) buf {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}
func (b buf) str(s string) buf { return append(b.i32(int32(len(s))), s...) }
func (b buf) bytes(p []byte) buf {
	if p == nil {
		return b.i32(-1)
	}
	return append(b.i32(int32(len(p))), p...)
}
func (b buf) strs(list ...string) buf {
	b = b.i32(int32(len(list)))
	for _, s := range list {
		b = b.str(s)
	}
	return b
}
func (b buf) world() buf { return b.i32(1).i32(31).str("world").str("anyone") }
func (b buf) create(path string, data []byte, mode int32) buf {
	return b.str(path).bytes(data).world().i32(mode)
}
func (b buf) op(kind int32, body buf) buf { return append(b.i32(kind).bool(false).i32(-1), body...) }
func (b buf) end() buf                    { return b.i32(-1).bool(true).i32(-1) }

// raw is a connection that speaks the protocol by hand.
type raw struct {
	t        testing.TB
	conn     net.Conn
	session  int64
	password []byte
	timeout  int32
	xid      int32
}

// reply is any packet from the server after the handshake.
type reply struct {
	xid  int32
	zxid int64
	err  int32
	body []byte
}

// dialRaw makes a session, or takes up an old one with its password.
func dialRaw(t testing.TB, addr string, timeoutMs int32, lastZxid, session int64, password []byte) *raw {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	r := &raw{t: t, conn: conn}
	if password == nil {
		password = make([]byte, 16)
	}
	r.write(buf{}.i32(0).i64(lastZxid).i32(timeoutMs).i64(session).bytes(password).bool(false))
	p, err := r.readPacket()
	if err != nil {
		t.Fatalf("handshake: %v", err)
	}
	if len(p) != 4+4+8+4+16+1 {
		t.Fatalf("handshake answered %d bytes: %x", len(p), p)
	}
	r.timeout = int32(binary.BigEndian.Uint32(p[4:]))
	r.session = int64(binary.BigEndian.Uint64(p[8:]))
	r.password = p[20:36]
	return r
}

func (r *raw) write(body []byte) {
	r.t.Helper()
	if _, err := r.conn.Write(append(buf{}.i32(int32(len(body))), body...)); err != nil {
		r.t.Fatal(err)
	}
}

func (r *raw) readPacket() ([]byte, error) {
	r.conn.SetReadDeadline(time.Now().Add(time.Minute))
	var head [4]byte
	if _, err := io.ReadFull(r.conn, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > 64<<20 {
		return nil, fmt.Errorf("packet of %d bytes", n)
	}
	p := make([]byte, n)
	_, err := io.ReadFull(r.conn, p)
	return p, err
}

func (r *raw) send(op int32, body buf) {
	r.t.Helper()
	r.xid++
	r.write(append(buf{}.i32(r.xid).i32(op), body...))
}

func (r *raw) next() (reply, error) {
	p, err := r.readPacket()
	if err != nil {
		return reply{}, err
	}
	if len(p) < 16 {
		return reply{}, errors.New("short reply header")
	}
	be := binary.BigEndian
	return reply{int32(be.Uint32(p)), int64(be.Uint64(p[4:])), int32(be.Uint32(p[12:])), p[16:]}, nil
}

// call sends a request and gives its reply and the events that came before it,
// as "type path".
func (r *raw) call(op int32, body buf) (reply, []string) {
	r.t.Helper()
	r.send(op, body)
	var events []string
	for {
		p, err := r.next()
		if err != nil {
			r.t.Fatalf("waiting for the reply to op %d: %v", op, err)
		}
		if p.xid != -1 {
			if want := r.xid; p.xid != want && op != opPing {
				r.t.Fatalf("reply to request %d, want %d", p.xid, want)
			}
			return p, events
		}
		events = append(events, event(p))
	}
}

// must is call for what has to succeed.
func (r *raw) must(op int32, body buf) []string {
	r.t.Helper()
	p, events := r.call(op, body)
	if p.err != 0 {
		r.t.Fatalf("op %d: error %d", op, p.err)
	}
	return events
}

// event shows a watch event.
func event(p reply) string {
	d := dec{b: p.body}
	kind, state, path := d.i32(), d.i32(), d.str()
	name := map[int32]string{1: "created", 2: "deleted", 3: "data", 4: "children"}[kind]
	if state != 3 || len(d.b) != 0 || p.err != 0 {
		return fmt.Sprintf("odd event %+v", p)
	}
	return name + " " + path
}

// dec reads jute; it panics on short input, which fails the test.
type dec struct{ b []byte }

func (d *dec) take(n int) []byte { p := d.b[:n]; d.b = d.b[n:]; return p }
func (d *dec) i32() int32        { return int32(binary.BigEndian.Uint32(d.take(4))) }
func (d *dec) i64() int64        { return int64(binary.BigEndian.Uint64(d.take(8))) }
func (d *dec) bool() bool        { return d.take(1)[0] != 0 }
func (d *dec) str() string       { return string(d.bytes()) }
func (d *dec) bytes() []byte {
	n := d.i32()
	if n == -1 {
		return nil
	}
	return d.take(int(n))
}

// split parts a connect string from zktest.
func split(connect string) (addr, root string) {
	addr, root, _ = strings.Cut(connect, "/")
	return addr, "/" + root
}
