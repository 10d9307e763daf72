package memnet

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// world is two hosts, a server's and a client's, and a connection between them.
type world struct {
	n      *Network
	a, b   *Host
	pa, pb *Process
	ln     net.Listener
	here   net.Conn // the client's end, on a
	there  net.Conn // the server's end, on b
}

func bubble(t *testing.T, f func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{n: New(rand.New(rand.NewPCG(1, 1)))}
		w.a, w.b = w.n.Host("10.0.0.1"), w.n.Host("10.0.0.2")
		w.pa, w.pb = w.a.Process(), w.b.Process()
		var err error
		if w.ln, err = w.pb.Listen("tcp", "10.0.0.2:9092"); err != nil {
			t.Fatal(err)
		}
		w.connect(t)
		f(t, w)
		w.pa.Kill()
		w.pb.Kill()
	})
}

func (w *world) connect(t *testing.T) {
	t.Helper()
	var err error
	if w.here, err = w.pa.Dial(t.Context(), "tcp", "10.0.0.2:9092"); err != nil {
		t.Fatal(err)
	}
	if w.there, err = w.ln.Accept(); err != nil {
		t.Fatal(err)
	}
}

// send writes on one end.
func send(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// wait reads text at one end.
func wait(t *testing.T, c net.Conn, text string) {
	t.Helper()
	b := make([]byte, len(text))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != text {
		t.Fatalf("read %q, %v; want %q", b, err, text)
	}
}

// fails reads at one end until an error.
func fails(t *testing.T, c net.Conn, want error) {
	t.Helper()
	if _, err := io.Copy(io.Discard, onlyReader{c}); want == io.EOF && err != nil || want != io.EOF && !errors.Is(err, want) {
		t.Fatalf("reading ended with %v, want %v", err, want)
	}
}

type onlyReader struct{ io.Reader }

func TestBytes(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.n.Delay(w.a, w.b, time.Millisecond, 5*time.Millisecond)
		start := time.Now()
		var want bytes.Buffer
		go func() {
			for i := range 400 {
				b := bytes.Repeat([]byte{byte(i)}, 1+i*17%4000)
				if _, err := w.here.Write(b); err != nil {
					t.Error(err)
				}
				want.Write(b)
			}
			w.here.Close()
		}()
		got, err := io.ReadAll(w.there)
		if err != nil || !bytes.Equal(got, want.Bytes()) || len(got) <= window {
			t.Fatalf("read %d bytes, %v; sent %d", len(got), err, want.Len())
		}
		if time.Since(start) < time.Millisecond {
			t.Error("nothing took any time")
		}
		if a := w.there.RemoteAddr().(*net.TCPAddr); a.IP.String() != "10.0.0.1" || w.here.RemoteAddr().String() != "10.0.0.2:9092" {
			t.Errorf("addresses %v, %v", a, w.here.RemoteAddr())
		}
	})
}

func TestDeadlines(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		start := time.Now()
		w.here.SetReadDeadline(start.Add(time.Hour))
		fails(t, w.here, os.ErrDeadlineExceeded)
		if d := time.Since(start); d != time.Hour {
			t.Errorf("it took %v", d)
		}
		w.here.SetWriteDeadline(time.Now().Add(time.Minute))
		if n, err := w.here.Write(make([]byte, 2*window)); n != window || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("wrote %d, %v", n, err)
		}
		w.here.SetDeadline(time.Time{})
		send(t, w.there, "x")
		wait(t, w.here, "x")
	})
}

// TestRefused: nobody listens, and a port that is taken.
func TestRefused(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		if _, err := w.pa.Dial(t.Context(), "tcp", "10.0.0.2:1"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dialing: %v", err)
		}
		if _, err := w.pb.Listen("tcp", "10.0.0.2:9092"); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("listening: %v", err)
		}
		if _, err := w.pb.Listen("tcp", "10.0.0.9:1"); !errors.Is(err, syscall.EADDRNOTAVAIL) {
			t.Errorf("listening elsewhere: %v", err)
		}
	})
}

// TestKill: the kernel ends the connections of a killed process.
func TestKill(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		send(t, w.there, "last words")
		w.pb.Kill()
		wait(t, w.here, "last words")
		fails(t, w.here, io.EOF)
		if _, err := w.here.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("writing: %v", err)
		}
		fails(t, w.there, ErrKilled)
		if _, err := w.pa.Dial(t.Context(), "tcp", "10.0.0.2:9092"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dialing: %v", err)
		}
		if _, err := w.pb.Listen("tcp", ":1"); !errors.Is(err, ErrKilled) {
			t.Errorf("listening: %v", err)
		}
		w.pb = w.b.Process()
		var err error
		if w.ln, err = w.pb.Listen("tcp", "10.0.0.2:9092"); err != nil {
			t.Fatal(err)
		}
		w.connect(t)
		send(t, w.here, "unread")
		synctest.Wait()
		w.pb.Kill()
		fails(t, w.here, syscall.ECONNRESET)
	})
}

// TestCut: what is sent on a cut link arrives later, and the other direction is
// not touched.
func TestCut(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.n.Cut(w.a, w.b)
		send(t, w.here, "late")
		send(t, w.there, "at once")
		wait(t, w.here, "at once")
		w.there.SetReadDeadline(time.Now().Add(time.Hour))
		fails(t, w.there, os.ErrDeadlineExceeded)
		w.there.SetReadDeadline(time.Time{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := w.pa.Dial(ctx, "tcp", "10.0.0.2:9092"); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("dialing over a cut link: %v", err)
		}
		w.pb.Kill() // its end of stream goes the way that is whole
		fails(t, w.here, io.EOF)
	})
	bubble(t, func(t *testing.T, w *world) {
		w.n.Cut(w.a, w.b)
		send(t, w.here, "late")
		time.AfterFunc(time.Hour, func() { w.n.Mend(w.a, w.b) })
		start := time.Now()
		wait(t, w.there, "late")
		if d := time.Since(start); d != time.Hour {
			t.Errorf("it took %v", d)
		}
	})
}

// TestPower: a host that is down says nothing; when it is back it resets.
func TestPower(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.b.Down()
		w.pb.Kill()
		send(t, w.here, "hello?")
		w.here.SetReadDeadline(time.Now().Add(time.Minute))
		fails(t, w.here, os.ErrDeadlineExceeded)
		w.here.SetReadDeadline(time.Time{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := w.pa.Dial(ctx, "tcp", "10.0.0.2:9092"); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("dialing: %v", err)
		}
		time.AfterFunc(time.Hour, w.b.Up)
		fails(t, w.here, syscall.ECONNRESET)
		w.pb = w.b.Process()
		var err error
		if w.ln, err = w.pb.Listen("tcp", ":9092"); err != nil {
			t.Fatal(err)
		}
		w.connect(t)
		send(t, w.here, "again")
		wait(t, w.there, "again")
	})
}
