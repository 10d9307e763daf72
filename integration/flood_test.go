//go:build integration

package integration

import (
	"context"
	be "encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/log/batch"
)

// For a flood as large as clients may make it, alone on the machine:
//
//	go test -tags integration -run 'TestFlood$' -v -timeout 2h ./integration -flood.clients 2000 -flood.bytes 104000000 -flood.budget 268435456
var (
	floodClients = flag.Int("flood.clients", 240, "clients of TestFlood")
	floodBytes   = flag.Int("flood.bytes", 8_000_000, "size of the large requests of TestFlood")
	floodBudget  = flag.Int("flood.budget", 32<<20, "queued.max.request.bytes of TestFlood")
	floodKinds   = flag.String("flood.kinds", "", "only kinds of clients that contain this")
)

const (
	// readSize is how much slow clients take at once.
	readSize = 20_000
	// readBytes is how much they ask for.
	readBytes = 4 << 20
	// floodFree is what a connection may have without asking for it.
	floodFree = 112 << 10
)

// floodLimit is how long one client of a flood may wait for its answer.
const floodLimit = time.Hour

// flooder is a kind of client.
type flooder struct {
	name  string
	frame []byte
	// slow clients read the begin of their answer and the rest when the flood of the
	// others is over. They may lose their connection, and no other may.
	slow bool
	// answers are the errors that the reply may have.
	answers []error
	// parse gives the error in a reply.
	parse func(body []byte) (int16, error)

	mu  sync.Mutex // guards got
	got map[string]int
}

func (f *flooder) note(result string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.got == nil {
		f.got = map[string]int{}
	}
	f.got[result]++
}

// request is a request in its version as it goes over the wire.
func request(version int16, req kmsg.Request) []byte {
	req.SetVersion(version)
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID("flood")).AppendRequest(nil, req, 1)
}

func produceOf(version int16, topic string, records []byte) []byte {
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = 1, 30_000
	t := kmsg.NewProduceRequestTopic()
	t.Topic = topic
	p := kmsg.NewProduceRequestTopicPartition()
	p.Records = records
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return request(version, req)
}

func produced(version int16) func([]byte) (int16, error) {
	return func(body []byte) (int16, error) {
		resp := kmsg.NewPtrProduceResponse()
		resp.SetVersion(version)
		if err := resp.ReadFrom(body); err != nil {
			return 0, err
		}
		return resp.Topics[0].Partitions[0].ErrorCode, nil
	}
}

// records makes a batch whose records have size bytes together.
func records(t *testing.T, codec batch.Codec, size, each int) []byte {
	t.Helper()
	b := batch.NewBuilder(batch.BuilderOptions{Codec: codec, Codecs: batch.NewCodecs(batch.Limits{})})
	now := time.Now().UnixMilli()
	value := make([]byte, each)
	for i := 0; i < each; i += 500 { // so that it can't be taken for a bomb
		value[i] = byte(rand.N(256))
	}
	for ; size > 0; size -= each {
		b.Append(now, nil, value)
	}
	out, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// old is records as messages of format 1.
func oldRecords(t *testing.T, codec batch.Codec, size, each int) []byte {
	t.Helper()
	out, err := batch.AppendDown(nil, records(t, codec, size, each), &batch.DownRules{Magic: 1, Codecs: batch.NewCodecs(batch.Limits{})})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// flooders are all kinds. large is the size of large requests, opened that of what
// compressed ones become.
func flooders(t *testing.T, large, opened int) []*flooder {
	t.Helper()
	large -= large / 50 // what records have around them
	whole := records(t, batch.None, large, 1000)
	corrupt := slices.Clone(whole)
	corrupt[len(corrupt)-1]++
	join := kmsg.NewPtrJoinGroupRequest()
	join.Group, join.ProtocolType, join.SessionTimeoutMillis, join.RebalanceTimeoutMillis = "flood", "consumer", 6000, 6000
	proto := kmsg.NewJoinGroupRequestProtocol()
	proto.Name, proto.Metadata = "range", make([]byte, large)
	join.Protocols = append(join.Protocols, proto)
	fetch := func(version int16) []byte {
		req := kmsg.NewPtrFetchRequest()
		req.ReplicaID, req.MaxWaitMillis, req.MinBytes = -1, 0, 1
		ft := kmsg.NewFetchRequestTopic()
		ft.Topic = "read"
		p := kmsg.NewFetchRequestTopicPartition()
		p.PartitionMaxBytes = readBytes
		ft.Partitions = append(ft.Partitions, p)
		req.Topics = append(req.Topics, ft)
		return request(version, req)
	}
	// The answers of slow clients are not kept: their begin tells the error.
	errorAt := func(at int) func([]byte) (int16, error) {
		return func(head []byte) (int16, error) { return int16(be.BigEndian.Uint16(head[at:])), nil }
	}
	joined := func(body []byte) (int16, error) {
		resp := kmsg.NewPtrJoinGroupResponse()
		resp.SetVersion(2)
		err := resp.ReadFrom(body)
		return resp.ErrorCode, err
	}
	return []*flooder{
		{name: "too large", frame: produceOf(7, "small", whole), parse: produced(7), answers: []error{kerr.MessageTooLarge}},
		{name: "corrupt", frame: produceOf(7, "wide", corrupt), parse: produced(7), answers: []error{kerr.CorruptMessage}},
		{name: "old messages", frame: produceOf(2, "anew", oldRecords(t, batch.None, large*9/10, 1000)), parse: produced(2), answers: []error{nil}},
		{name: "one large old message", frame: produceOf(2, "wide", oldRecords(t, batch.None, large, large)), parse: produced(2), answers: []error{nil}},
		{name: "gzip", frame: produceOf(7, "small", records(t, batch.Gzip, opened, 1000)), parse: produced(7), answers: []error{nil}},
		{name: "gzip to zstd", frame: produceOf(7, "anew", records(t, batch.Gzip, opened, 1000)), parse: produced(7), answers: []error{nil}},
		{name: "lz4 to zstd", frame: produceOf(7, "anew", records(t, batch.LZ4, opened, 1<<20)), parse: produced(7), answers: []error{nil}},
		{name: "old gzip", frame: produceOf(2, "small", oldRecords(t, batch.Gzip, opened, 1000)), parse: produced(2), answers: []error{nil}},
		{name: "join", frame: request(2, join), parse: joined, answers: []error{nil, kerr.CoordinatorLoadInProgress, kerr.UnknownServerError}},
		{name: "fetch of version 1", frame: fetch(1), parse: errorAt(22), slow: true, answers: []error{nil}},
		{name: "fetch of version 2", frame: fetch(2), parse: errorAt(22), slow: true, answers: []error{nil}},
		{name: "fetch of version 10", frame: fetch(10), parse: errorAt(28), slow: true, answers: []error{nil}},
	}
}

// run is one client, from its connection to its answer. It asks again where any
// client would.
func (f *flooder) run(addr string, over <-chan struct{}) error {
	for lost := 0; ; {
		err := f.ask(addr, over)
		switch {
		case errors.Is(err, kerr.NotLeaderForPartition), errors.Is(err, kerr.NotCoordinator):
		case errors.Is(err, errLost) && lost < 5:
			lost++
			f.note("connection lost, and asked again")
		default:
			return err
		}
	}
}

// errLost is wrapped by the errors of a connection that was lost before its answer.
var errLost = errors.New("connection lost")

func (f *flooder) ask(addr string, over <-chan struct{}) error {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer nc.Close()
	// Both ends are on this machine, whose memory for TCP thousands of them use up
	// otherwise: it drops what comes then.
	err = errors.Join(nc.SetDeadline(time.Now().Add(floodLimit)), nc.(*net.TCPConn).SetWriteBuffer(100_000))
	if err != nil {
		return err
	}
	if _, err := nc.Write(f.frame); err != nil {
		return fmt.Errorf("%w while sending: %w", errLost, err)
	}
	var head [8]byte
	if _, err := io.ReadFull(nc, head[:]); err != nil {
		return fmt.Errorf("%w before the answer: %w", errLost, err)
	}
	left := int(be.BigEndian.Uint32(head[:])) - 4
	var body []byte
	if f.slow {
		// A little now and then, while the others send.
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		var first []byte
		for n := left; n > 0; n -= len(body) {
			body = make([]byte, min(n, readSize))
			if _, err := io.ReadFull(nc, body); err != nil {
				f.note("connection lost while reading slowly")
				return nil
			}
			if n == left {
				first = body
			}
			select {
			case <-tick.C:
			case <-over:
			}
		}
		body = first
	} else {
		body = make([]byte, left)
		if _, err := io.ReadFull(nc, body); err != nil {
			return fmt.Errorf("%w in the answer: %w", errLost, err)
		}
	}
	code, err := f.parse(body)
	if err != nil {
		return err
	}
	known := kerr.ErrorForCode(code)
	if !slices.Contains(f.answers, known) {
		return fmt.Errorf("answered %w", known)
	}
	f.note(fmt.Sprintf("answered %v", known))
	return nil
}

// bystander asks small things, one after the other, and tells how long the longest
// answer took.
func bystander(ctx context.Context, b *broker, id int) (asked int, longest time.Duration, err error) {
	c, err := kgo.NewClient(kgo.SeedBrokers(b.addr), kgo.DefaultProduceTopic("beside"), kgo.DisableIdempotentWrite(), kgo.RequiredAcks(kgo.LeaderAck()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0))
	if err != nil {
		return 0, 0, err
	}
	defer c.Close()
	for ctx.Err() == nil || asked < 4 {
		began := time.Now()
		if asked%2 == 0 {
			err = c.ProduceSync(context.WithoutCancel(ctx), &kgo.Record{Partition: int32(id), Value: []byte("small")}).FirstErr()
		} else {
			req := kmsg.NewPtrListOffsetsRequest()
			req.ReplicaID = -1
			rt := kmsg.NewListOffsetsRequestTopic()
			rt.Topic = "beside"
			rp := kmsg.NewListOffsetsRequestTopicPartition()
			rp.Partition, rp.Timestamp, rp.CurrentLeaderEpoch = int32(id), -1, -1
			rt.Partitions = append(rt.Partitions, rp)
			req.Topics = append(req.Topics, rt)
			_, err = req.RequestWith(context.WithoutCancel(ctx), c)
		}
		if err != nil {
			return asked, longest, err
		}
		asked++
		longest = max(longest, time.Since(began))
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
	return asked, longest, nil
}

// floodBound is what a broker may have, by docs/memory.md: requests, what they become,
// what is made while it is sent, open batches, groups, the rest, and what is free for
// each connection.
func floodBound() int64 {
	budget := int64(*floodBudget)
	return budget + budget + budget/4 + 256<<20 + 64<<20 + 96<<20 + int64(*floodClients)*floodFree
}

// TestFlood: many clients send the largest requests that they may, batches that
// become large when they are opened, and fetches whose answers they hardly read. All
// are answered, the broker's memory stays within what docs/memory.md says, and others
// are served meanwhile.
func TestFlood(t *testing.T) {
	opened := min(*floodBytes, 120_000_000)
	b := newBroker(t, fmt.Sprint("socket.request.max.bytes=", *floodBytes+100_000), fmt.Sprint("queued.max.request.bytes=", *floodBudget),
		"zookeeper.session.timeout.ms=40000", // the machine may be busy
		"socket.listen.backlog.size=4096")    // all come at once
	adm := kadm.NewClient(b.client())
	topic := func(name string, partitions int32, configs ...string) {
		t.Helper()
		set := map[string]*string{}
		for _, c := range configs {
			k, v, _ := strings.Cut(c, "=")
			set[k] = &v
		}
		if _, err := adm.CreateTopic(t.Context(), partitions, 1, set, name); err != nil {
			t.Fatal(err)
		}
	}
	topic("small", 1, "record.validation=full")
	topic("wide", 1, "max.message.bytes=200000000", "compression.type=lz4")
	topic("anew", 1, "max.message.bytes=8000000", "compression.type=zstd")
	topic("read", 1)
	topic("beside", 4)
	fill := b.client(kgo.DefaultProduceTopic("read"), kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite(), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerBatchMaxBytes(900_000), kgo.MaxBufferedRecords(200_000))
	for range readBytes * 2 / 28 {
		fill.Produce(t.Context(), &kgo.Record{Value: make([]byte, 20)}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	if err := fill.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "the coordinator", func() error { // that there is no group is fine
		_, err := adm.DescribeGroups(t.Context(), "flood")
		return err
	})
	var kinds []*flooder
	for _, f := range flooders(t, *floodBytes, opened) {
		if strings.Contains(f.name, *floodKinds) {
			kinds = append(kinds, f)
		}
	}
	_, before := residentOf(t, b.proc.PID())

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var beside sync.WaitGroup
	for i := range 4 {
		beside.Go(func() {
			n, longest, err := bystander(ctx, b, i)
			if err != nil {
				t.Errorf("beside the flood, after %d answers: %v", n, err)
			}
			t.Logf("beside the flood: %d answers, the slowest after %v", n, longest.Round(time.Millisecond))
		})
	}
	began, over := time.Now(), make(chan struct{})
	var quick, slow sync.WaitGroup
	var done atomic.Int64
	for i := range *floodClients {
		f := kinds[i%len(kinds)]
		wg := &quick
		if f.slow {
			wg = &slow
		}
		wg.Go(func() {
			if err := f.run(b.addr, over); err != nil {
				t.Errorf("%s: %v", f.name, err)
			}
			if n := done.Add(1); n%100 == 0 {
				now, peak := residentOf(t, b.proc.PID())
				t.Logf("%d clients after %v: %d MB resident, %d at most", n, time.Since(began).Round(time.Second), now>>20, peak>>20)
			}
		})
	}
	quick.Wait()
	close(over)
	slow.Wait()
	took := time.Since(began)
	cancel()
	beside.Wait()
	now, peak := residentOf(t, b.proc.PID())
	t.Logf("%d clients, %v: %d MB resident before, at most %d, at the end %d", *floodClients, took.Round(time.Second/10), before>>20, peak>>20, now>>20)
	// The collector may come late on a busy machine, and the program itself is not in it.
	if most := floodBound() / 4 * 5; peak > most {
		t.Errorf("%d MB resident, at most %d are allowed", peak>>20, most>>20)
	}
	for _, f := range kinds {
		t.Logf("%-22s %d bytes: %v", f.name, len(f.frame), f.got)
	}
}
