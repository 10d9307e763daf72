package peer

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// answerer is what a broker does with a request; nil closes the connection.
type answerer func(h protocol.Header, body []byte) []byte

// serve answers requests of one connection.
func serve(c net.Conn, answer answerer) {
	defer c.Close()
	for {
		var size [4]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		frame := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(c, frame); err != nil {
			return
		}
		h, body, err := protocol.ParseHeader(frame)
		if err != nil {
			return
		}
		out := answer(h, body)
		if out == nil {
			return
		}
		if _, err := c.Write(out); err != nil {
			return
		}
	}
}

// framed puts the length in front.
func framed(b []byte) []byte {
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

// metadata answers any Metadata with the controller id 42.
func metadata(h protocol.Header, _ []byte) []byte {
	r := kmsg.NewPtrMetadataResponse()
	r.Version, r.ControllerID = h.Version, 42
	return framed(r.AppendTo(protocol.AppendResponseHeader(nil, h.Key, h.Version, h.CorrelationID)))
}

func request(version int16) *kmsg.MetadataRequest {
	r := kmsg.NewPtrMetadataRequest()
	r.Version = version
	return r
}

func ask(t *testing.T, p *Peers, req kmsg.Request) {
	t.Helper()
	r, err := p.Request(t.Context(), 1, req)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.(*kmsg.MetadataResponse).ControllerID; got != 42 {
		t.Errorf("got %d", got)
	}
}

// broker is one on loopback; its address can be asked for.
type broker struct {
	net.Listener
	mu    sync.Mutex // guards conns
	conns []net.Conn
}

func listen(t *testing.T, answer answerer) *broker {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &broker{Listener: ln}
	t.Cleanup(func() { ln.Close(); b.hangUp() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			b.mu.Lock()
			b.conns = append(b.conns, c)
			b.mu.Unlock()
			go serve(c, answer)
		}
	}()
	return b
}

// hangUp closes the connections that there were and returns their number.
func (b *broker) hangUp() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.conns {
		c.Close()
	}
	return len(b.conns)
}

func (b *broker) peers(t *testing.T) *Peers {
	p := New(Options{ClientID: "me", Address: func(id kafka.BrokerID) (string, bool) { return b.Addr().String(), id == 1 }})
	t.Cleanup(p.Close)
	return p
}

// TestRequest: header versions old and flexible, one connection for all, and a
// new one after the broker closed it.
func TestRequest(t *testing.T) {
	b := listen(t, metadata)
	p := b.peers(t)
	for _, v := range []int16{1, 8, 9, 12} {
		ask(t, p, request(v))
	}
	if n := b.hangUp(); n != 1 {
		t.Errorf("%d connections", n)
	}
	for quiet := true; quiet; { // until its end has arrived here
		p.mu.Lock()
		quiet = p.targets[1].idle[0].quiet()
		p.mu.Unlock()
	}
	ask(t, p, request(9))
	if _, err := p.Request(t.Context(), 2, request(9)); !errors.Is(err, ErrUnknownBroker) {
		t.Errorf("got %v", err)
	}
	b.Close()
	b.hangUp()
	if _, err := p.Conn(t.Context(), 1); !errors.Is(err, ErrUnreachable) {
		t.Errorf("got %v", err)
	}
	p.Close()
	if _, err := p.Request(t.Context(), 1, request(9)); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
}

// TestBadAnswers: each is a typed error, and the connection is not used again.
func TestBadAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		answer answerer
		want   error
	}{
		"closed":            {func(protocol.Header, []byte) []byte { return nil }, ErrBroken},
		"lying length":      {func(protocol.Header, []byte) []byte { return []byte{0x7f, 0xff, 0xff, 0xff, 1} }, ErrBroken},
		"no correlation id": {func(protocol.Header, []byte) []byte { return framed(make([]byte, 6)) }, ErrMalformed},
		"another's":         {func(protocol.Header, []byte) []byte { return framed(make([]byte, 40)) }, ErrMalformed},
		"header only": {func(h protocol.Header, _ []byte) []byte {
			return framed(protocol.AppendResponseHeader(nil, h.Key, h.Version, h.CorrelationID))
		}, ErrMalformed},
		"tags of the header": {func(h protocol.Header, _ []byte) []byte {
			b := protocol.AppendResponseHeader(nil, h.Key, h.Version, h.CorrelationID)
			b[len(b)-1] = 9
			return framed(b)
		}, ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			b := listen(t, c.answer)
			p := b.peers(t)
			for range 2 {
				if _, err := p.Request(t.Context(), 1, request(9)); !errors.Is(err, c.want) {
					t.Errorf("got %v", err)
				}
			}
			if n := b.hangUp(); n != 2 {
				t.Errorf("%d connections", n)
			}
		})
	}
}

// TestSlow: an answer that takes its time delays no other request, up to four;
// what waits ends by its context or by the timeout.
func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		slow := func(h protocol.Header, body []byte) []byte {
			if h.Version == 1 {
				<-release
			}
			return metadata(h, body)
		}
		var dials atomic.Int32
		p := New(Options{
			Timeout: 5 * time.Second, Address: func(kafka.BrokerID) (string, bool) { return "one", true },
			Dial: func(context.Context, string, string) (net.Conn, error) {
				dials.Add(1)
				a, b := net.Pipe()
				go serve(b, slow)
				return a, nil
			},
		})
		began := time.Now()
		results := make(chan error, perBroker)
		for range perBroker - 1 {
			go func() {
				_, err := p.Request(context.Background(), 1, request(1))
				results <- err
			}()
		}
		synctest.Wait()
		ask(t, p, request(9))
		go func() {
			_, err := p.Request(context.Background(), 1, request(1))
			results <- err
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.Request(ctx, 1, request(9)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		for range perBroker {
			if err := <-results; !errors.Is(err, ErrBroken) {
				t.Errorf("got %v", err)
			}
		}
		if d := time.Since(began); d != 5*time.Second || dials.Load() != perBroker {
			t.Errorf("%v, %d dials", d, dials.Load())
		}
		own, err := p.Conn(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		errGivenUp := errors.New("given up")
		giving, giveUp := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { giveUp(errGivenUp) })
		if _, err := own.Exchange(giving, request(1)); !errors.Is(err, errGivenUp) {
			t.Errorf("got %v", err)
		}
		if _, err := own.Exchange(t.Context(), request(9)); !errors.Is(err, ErrBroken) {
			t.Errorf("got %v", err)
		}
		own.Close()
		p.Close()
		close(release)
	})
}
