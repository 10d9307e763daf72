package socket

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"

	"barnabas/internal/metrics"
)

func pageOf(t *testing.T, s *Server) string {
	t.Helper()
	r := metrics.New()
	r.Collect(s.Collect)
	var b bytes.Buffer
	if err := r.WritePage(&b, false); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestRequestsAreCounted(t *testing.T) {
	s := start(t, Options{}, func(ctx context.Context, r *Request) Reply {
		if r.Key == produceKey {
			return NoReply()
		}
		r.Follower = string(r.Body) == "follower"
		return echo(ctx, r)
	})
	c := dial(t, s)
	for range 3 {
		send(t, c, request(produceKey, 3, 0, ""))
	}
	for i := range int32(20) {
		send(t, c, request(fetchKey, 4, i, "consumer"))
		receive(t, c, i)
	}
	send(t, c, request(fetchKey, 4, 50, "follower"), request(metadataKey, 1, 51, ""))
	receive(t, c, 50)
	receive(t, c, 51)
	want := []string{
		`requests_total{request="Produce"} 3`, `requestspersec{request="Fetch"} 21`, `requests_total{request="FetchConsumer"} 20`,
		`requests_total{request="FetchFollower"} 1`, `requests_total{request="Metadata"} 1`,
		`totaltimems_count{request="FetchConsumer"} 20`, `localtimems_count{request="Metadata"} 1`,
		`kafka_server_socket_server_metrics_connection_count{listener="PLAINTEXT"} 1`,
	}
	// The last reply is counted after it is written.
	waitFor(t, "the counts", func() bool {
		page := pageOf(t, s)
		for _, w := range want {
			if !strings.Contains(page, w+"\n") {
				return false
			}
		}
		return true
	})
}

// brokenListener fails until it is mended.
type brokenListener struct {
	net.Listener
	fail chan error
}

func (l *brokenListener) Accept() (net.Conn, error) {
	if err, ok := <-l.fail; ok {
		return nil, err
	}
	return l.Listener.Accept()
}

func TestListenersTellOfFailures(t *testing.T) {
	fail := make(chan error)
	s := start(t, Options{Listen: func(network, addr string) (net.Listener, error) {
		l, err := net.Listen(network, addr)
		return &brokenListener{l, fail}, err
	}}, echo)
	fail <- syscall.EMFILE
	waitFor(t, "the failure to be told", func() bool {
		l := s.Listeners()[0]
		return !l.Failing.IsZero() && errors.Is(l.Err, syscall.EMFILE) && !l.Ended
	})
	close(fail)
	c := dial(t, s)
	send(t, c, request(metadataKey, 1, 1, ""))
	receive(t, c, 1)
	if l := s.Listeners()[0]; !l.Failing.IsZero() || l.Err != nil || l.Open != 1 || l.Name != "PLAINTEXT" {
		t.Errorf("%+v", l)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if l := s.Listeners()[0]; !l.Ended {
		t.Errorf("after Close: %+v", l)
	}
}
