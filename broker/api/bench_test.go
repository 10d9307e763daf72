package api

import (
	"io"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sys/unix"

	"barnabas/internal/invariant"
	"barnabas/net/socket"
)

// exchange sends a frame as it is and reads the answer, without allocating.
func exchange(tb testing.TB, c *client, frame, in []byte) {
	if _, err := c.nc.Write(frame); err != nil {
		tb.Fatal(err)
	}
	if _, err := io.ReadFull(c.nc, in[:4]); err != nil {
		tb.Fatal(err)
	}
	n := int(in[2])<<8 | int(in[3])
	if _, err := io.ReadFull(c.nc, in[:n]); err != nil {
		tb.Fatal(err)
	}
}

func produceFrame(tb testing.TB, size int) []byte {
	req := produceRequest(9, -1, toProduce{"a", 0, records(tb, size, plain())})
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID("bench")).AppendRequest(nil, req, 1)
}

func fetchFrame(session, epoch int32) []byte {
	req := fetchRequest(17, 0)
	req.SessionID, req.SessionEpoch = session, epoch
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID("bench")).AppendRequest(nil, req, 1)
}

// BenchmarkProduce is a small synchronous produce over loopback, without a log
// and with one. cpu-us/op counts client and broker.
func BenchmarkProduce(b *testing.B) {
	b.Run("nothing kept", func(b *testing.B) {
		br := newBroker(b)
		br.rep.quiet = true
		benchmarkProduce(b, br)
	})
	b.Run("log", func(b *testing.B) { benchmarkProduce(b, realBroker(b)) })
}

func benchmarkProduce(b *testing.B, br *broker) {
	c := br.dial()
	frame, in := produceFrame(b, 100), make([]byte, 1024)
	exchange(b, c, frame, in)
	before := cpu(b)
	b.ReportAllocs()
	for b.Loop() {
		exchange(b, c, frame, in)
	}
	b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-us/op")
}

// BenchmarkFetchSmall is a small synchronous fetch, like BenchmarkProduce.
func BenchmarkFetchSmall(b *testing.B) {
	br := newBroker(b)
	br.produce("a", 0, 100)
	c := br.dial()
	req := fetchRequest(12, 0, toFetch{"a", idA, 0, 0})
	frame, in := kmsg.NewRequestFormatter().AppendRequest(nil, req, 1), make([]byte, 1024)
	exchange(b, c, frame, in)
	before := cpu(b)
	b.ReportAllocs()
	for b.Loop() {
		exchange(b, c, frame, in)
	}
	b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-us/op")
}

// cpu is what the process has used so far, in microseconds.
func cpu(tb testing.TB) int64 {
	var ru unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &ru); err != nil {
		tb.Fatal(err)
	}
	return (ru.Utime.Nano() + ru.Stime.Nano()) / 1000
}

// TestAllocations holds the budgets of the hot paths: from the frame to the
// reply on the wire.
func TestAllocations(t *testing.T) {
	if invariant.Enabled {
		return // the budgets are those of production builds
	}
	br := newBroker(t)
	br.rep.quiet = true
	c := br.dial()
	in := make([]byte, 1024)
	produce := produceFrame(t, 100)
	if n := testing.AllocsPerRun(500, func() { exchange(t, c, produce, in) }); n > 1 {
		t.Errorf("a produce allocates %v times, the budget is 1", n)
	}
	req := fetchRequest(12, 0, toFetch{"a", idA, 0, 0})
	fetch := kmsg.NewRequestFormatter().AppendRequest(nil, req, 1)
	if n := testing.AllocsPerRun(500, func() { exchange(t, c, fetch, in) }); n > 3 {
		t.Errorf("a fetch without a session allocates %v times, the budget is 3", n)
	}
	first := fetchRequest(17, 0, toFetch{"a", idA, 0, 0})
	first.SessionEpoch = 0
	session := call[*kmsg.FetchResponse](c, first).SessionID
	epoch := int32(1)
	frames := make([][]byte, 600)
	for i := range frames {
		frames[i] = fetchFrame(session, epoch+int32(i))
	}
	if n := testing.AllocsPerRun(500, func() {
		exchange(t, c, frames[epoch-1], in)
		epoch++
	}); n > 3 {
		t.Errorf("a fetch within a session allocates %v times, the budget is 3", n)
	}
}

var _ socket.Handler = (*API)(nil)
