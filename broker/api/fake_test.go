package api

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/broker/purgatory"
	"barnabas/broker/replica"
	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
	"barnabas/log"
	"barnabas/log/batch"
	"barnabas/net/socket"
	"barnabas/protocol"
)

// replicas is a Replicas of one file per partition, where offsets are batches.
type replicas struct {
	t       testing.TB
	fetches *purgatory.Purgatory[kafka.TopicPartition]
	quiet   bool // keep nothing that is appended

	mu      sync.Mutex
	parts   map[kafka.TopicPartition]*fakePart
	waiting map[kafka.TopicPartition]func(error)
}

type fakePart struct {
	file    vfs.File
	offset  int64
	bytes   int64
	at      []int64 // positions of offsets
	err     error   // answers everything
	replica bool    // acks=-1 waits
}

func (f *replicas) part(tp kafka.TopicPartition) *fakePart {
	p := f.parts[tp]
	if p == nil {
		p = &fakePart{}
		file, err := vfs.OS.Create(f.t.TempDir() + "/" + tp.String())
		if err != nil {
			f.t.Fatal(err)
		}
		f.t.Cleanup(func() { file.Close() })
		p.file = file
		f.parts[tp] = p
	}
	return p
}

func (f *replicas) AwaitServing(context.Context, []kafka.TopicPartition) error { return nil }

func (f *replicas) Behind(kafka.TopicPartition, kafka.LeaderEpoch) bool { return false }

func (f *replicas) Append(tp kafka.TopicPartition, recs []byte, acks int16, _ log.Origin) (replica.Appended, error) {
	f.mu.Lock()
	p := f.part(tp)
	if p.err != nil {
		f.mu.Unlock()
		return replica.Appended{}, p.err
	}
	a := replica.Appended{Epoch: 3, Replicated: !p.replica}
	a.FirstOffset, a.LastOffset, a.LogAppendTime = p.offset, p.offset, -1
	if !f.quiet {
		batch.SetOffset(recs, p.offset)
		if _, err := p.file.WriteAt(recs, p.bytes); err != nil {
			f.t.Error(err)
		}
		p.at = append(p.at, p.bytes)
		p.bytes += int64(len(recs))
		p.offset++
	}
	f.mu.Unlock()
	f.fetches.Wake(tp)
	return a, nil
}

func (f *replicas) AwaitReplicated(tp kafka.TopicPartition, _ int64, _ kafka.LeaderEpoch, _ time.Duration, done func(error)) func() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting[tp] = done
	return func() {}
}

// replicated ends the wait of an append.
func (f *replicas) replicated(tp kafka.TopicPartition, err error) {
	f.mu.Lock()
	done := f.waiting[tp]
	delete(f.waiting, tp)
	f.mu.Unlock()
	done(err)
}

func (f *replicas) Read(a *replica.ReadArgs) (replica.Data, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.part(a.TP)
	if p.err != nil {
		return replica.Data{}, p.err
	}
	if a.Follower != nil { // has no followers
		return replica.Data{}, protocol.NotLeaderOrFollower
	}
	if a.Offset < 0 || a.Offset > p.offset {
		return replica.Data{}, protocol.OffsetOutOfRange
	}
	d := replica.Data{HighWatermark: p.offset, LastStableOffset: p.offset}
	if a.Offset < p.offset {
		from := p.at[a.Offset]
		n := min(p.bytes-from, int64(a.MaxBytes))
		if first := p.end(a.Offset) - from; n < first && a.MinOne {
			n = first
		}
		d.Records = vfs.Range{File: p.file, Offset: from, Length: n}
	}
	return d, nil
}

func (p *fakePart) end(offset int64) int64 {
	if offset+1 < p.offset {
		return p.at[offset+1]
	}
	return p.bytes
}

var (
	idA = kafka.TopicID{15: 0xa}
	idB = kafka.TopicID{15: 0xb}
)

// image has broker 1 (here) and 2, topic a with partitions 0 to 2 led by 1, and
// b-0 led by 2.
func image() *cluster.Image {
	e := cluster.NewEdit(cluster.Empty())
	for id := kafka.BrokerID(1); id <= 2; id++ {
		e.ReadBroker(&cluster.Broker{ID: id, Epoch: 5, Zxid: 5, Rack: "rack", Endpoints: []cluster.Endpoint{
			{Listener: "PLAINTEXT", Host: "host", Port: 9090 + int32(id), Protocol: "PLAINTEXT"},
		}})
	}
	for name, id := range map[string]kafka.TopicID{"a": idA, "b": idB, kafka.ConsumerOffsetsTopic: {15: 0xc}} {
		assign := map[int32]cluster.Assignment{}
		for p := range int32(3) {
			assign[p] = cluster.Assignment{Replicas: []kafka.BrokerID{1}}
		}
		e.ReadTopic(cluster.TopicRead{Name: name, ID: id, Assignment: assign, Zxid: 6})
		leader := kafka.BrokerID(1)
		if name == "b" {
			leader = 2
		}
		for p := range int32(3) {
			e.ReadState(kafka.TopicPartition{Topic: name, Partition: p}, cluster.EntryState{Partition: p, Leader: leader, LeaderEpoch: 7}, 7, 7)
		}
	}
	im, _ := e.Publish()
	return im
}

// broker serves the API on a port of its own.
type broker struct {
	t   testing.TB
	api *API
	rep *replicas
	srv *socket.Server
}

func newBroker(t testing.TB) *broker {
	t.Helper()
	rep := &replicas{t: t, fetches: purgatory.New[kafka.TopicPartition](), parts: map[kafka.TopicPartition]*fakePart{}, waiting: map[kafka.TopicPartition]func(error){}}
	b := serve(t, rep, rep.fetches)
	b.rep = rep
	return b
}

// serve starts a broker on the given partitions.
func serve(t testing.TB, rep Replicas, fetches *purgatory.Purgatory[kafka.TopicPartition]) *broker {
	t.Helper()
	return serveImage(t, rep, fetches, image())
}

func serveImage(t testing.TB, rep Replicas, fetches *purgatory.Purgatory[kafka.TopicPartition], im *cluster.Image, with ...func(*Options)) *broker {
	t.Helper()
	o := Options{
		BrokerID: 1, Image: func() *cluster.Image { return im }, Replicas: rep, Fetches: fetches,
		FeatureEpoch: func() int64 { return 0 },
	}
	for _, f := range with {
		f(&o)
	}
	b := &broker{t: t, api: New(o)}
	b.srv = socket.New(socket.Options{
		Listeners: []socket.ListenerOptions{{Name: "PLAINTEXT", Addr: "127.0.0.1:0"}}, CloseGrace: 50 * time.Millisecond,
		Pollers: 1, // as a broker has it
	})
	if err := b.srv.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- b.srv.Serve(ctx, b.api) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return b
}

// client is a connection to a broker.
type client struct {
	t  testing.TB
	nc net.Conn
	id int32
	in []byte
}

func (b *broker) dial() *client {
	b.t.Helper()
	nc, err := net.Dial("tcp", b.srv.Addr("PLAINTEXT").String())
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { nc.Close() })
	if err := nc.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		b.t.Fatal(err)
	}
	return &client{t: b.t, nc: nc}
}

func (c *client) send(req kmsg.Request) {
	c.t.Helper()
	c.id++
	frame := kmsg.NewRequestFormatter(kmsg.FormatterClientID("test")).AppendRequest(nil, req, c.id)
	if _, err := c.nc.Write(frame); err != nil {
		c.t.Fatal(err)
	}
}

// frame reads one answer, without its length.
func (c *client) frame() ([]byte, error) {
	var size [4]byte
	if _, err := readFull(c.nc, size[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint32(size[:]))
	if cap(c.in) < n {
		c.in = make([]byte, n)
	}
	return readFull(c.nc, c.in[:n])
}

func readFull(nc net.Conn, b []byte) ([]byte, error) {
	for got := 0; got < len(b); {
		n, err := nc.Read(b[got:])
		if err != nil {
			return nil, err
		}
		got += n
	}
	return b, nil
}

// receive reads the answer to req.
func receive[R kmsg.Response](c *client, req kmsg.Request) R {
	c.t.Helper()
	b, err := c.frame()
	if err != nil {
		c.t.Fatalf("%s version %d: %v", protocol.KeyName(req.Key()), req.GetVersion(), err)
	}
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	head := 4
	if protocol.FlexibleResponseHeader(req.Key(), req.GetVersion()) {
		head++
	}
	if err := resp.ReadFrom(bytes.Clone(b[head:])); err != nil {
		c.t.Fatalf("%s version %d: %v", protocol.KeyName(req.Key()), req.GetVersion(), err)
	}
	return resp.(R)
}

func call[R kmsg.Response](c *client, req kmsg.Request) R {
	c.t.Helper()
	c.send(req)
	return receive[R](c, req)
}

// closed fails unless the broker closes the connection.
func (c *client) closed(what string) {
	c.t.Helper()
	if b, err := c.frame(); err == nil {
		c.t.Fatalf("%s: got %x, want the connection closed", what, b)
	} else if ne, ok := err.(net.Error); ok && ne.Timeout() {
		c.t.Fatalf("%s: the connection stays open", what)
	}
}

// records is a batch of one record with a value of n bytes.
func records(t testing.TB, n int, o batch.BuilderOptions) []byte {
	t.Helper()
	b := batch.NewBuilder(o)
	b.Append(1700000000000, nil, make([]byte, n))
	out, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(out)
}
