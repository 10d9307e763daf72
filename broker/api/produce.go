package api

// Produce (0), versions 0–11.
//
//	1   throttle time          2  log append time, magic 1
//	3   transactional id; exactly one batch of magic 2 per partition
//	5   log start offset       7  zstd
//	8   errors of records      9  flexible
//	10  the new leader with NOT_LEADER_OR_FOLLOWER (KIP-951)
//	11  TRANSACTION_ABORTABLE (KIP-890)
//
// Before 3 records may be message sets of magic 0 and 1, which the log makes into
// a batch.

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"barnabas/broker/replica"
	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/log"
	"barnabas/log/batch"
	"barnabas/net/frame"
	"barnabas/net/socket"
	"barnabas/protocol"
)

// adminClientID is the client id that may write to internal topics.
const adminClientID = "__admin_client"

const (
	// produceElement is what an element of a Produce takes until it is answered, in
	// bytes: a partition, its result, its wait, and what is encoded of it.
	produceElement = 384
	// wideProduce is the size of a body from which its elements are counted before it
	// is decoded.
	wideProduce = 8 << 10
	// keptResults is how many results a produce in the pool may have room for.
	keptResults = 4096
)

// produce is one Produce under way. It returns to the pool when it is answered.
type produce struct {
	a        *API
	req      protocol.ProduceRequest
	topics   []protocol.ProduceTopicResult
	results  []protocol.ProduceResult
	nodes    []protocol.Node
	version  int16
	listener string
	waits    []produceWait // partitions that wait for their replicas
	lease    *frame.Lease  // for many partitions

	// Of one that is parked.
	from    socket.Request
	pending *socket.Pending
	left    atomic.Int32
}

// produceWait is an append that is not replicated yet.
type produceWait struct {
	result   int // index
	tp       kafka.TopicPartition
	appended replica.Appended
	cancel   func()
}

// scratch keeps what requests reuse.
type scratch struct {
	produces, fetches, looks sync.Pool
}

func (a *API) getProduce() *produce {
	if p, ok := a.scratch.produces.Get().(*produce); ok {
		return p
	}
	return &produce{a: a}
}

// put returns p to the pool without what it refers to.
func (p *produce) put() {
	p.lease.Release()
	p.lease = nil
	if cap(p.results) > keptResults {
		return // for the collector
	}
	clear(p.topics)
	clear(p.results)
	clear(p.nodes)
	clear(p.waits)
	p.topics, p.results, p.nodes, p.waits = p.topics[:0], p.results[:0], p.nodes[:0], p.waits[:0]
	clear(p.req.Topics)
	clear(p.req.Partitions)
	p.req.TransactionalID = nil
	p.from, p.pending = socket.Request{}, nil
	p.a.scratch.produces.Put(p)
}

func (a *API) produce(ctx context.Context, r *socket.Request) socket.Reply {
	p := a.getProduce()
	err := p.enter(r)
	if err == nil {
		err = p.req.Parse(r.Version, r.Body)
	}
	if err != nil {
		p.put()
		return socket.CloseConn(err)
	}
	p.version, p.listener = r.Version, r.Conn.Listener()
	if a.opt.Deaths.InDoubt() {
		p.awaitLeading(ctx)
	}
	p.appendAll(r)
	if p.req.Acks == 0 {
		err := p.firstError()
		p.put()
		if err != nil {
			return socket.CloseConn(err)
		}
		return socket.NoReply()
	}
	if len(p.waits) == 0 {
		return p.reply(r)
	}
	return p.park(r)
}

// enter waits until there is memory for the partitions of r, if they may be many.
func (p *produce) enter(r *socket.Request) error {
	if len(r.Body) < wideProduce {
		return nil
	}
	n, err := protocol.CountElements(r.Key, r.Version, r.Body)
	if err == nil {
		p.lease, err = r.Lease(int64(n) * produceElement)
	}
	return err
}

// reply encodes the answer and ends p.
func (p *produce) reply(r *socket.Request) socket.Reply {
	out := r.NewOut()
	out.B = protocol.AppendProduceResponse(out.B, p.version, p.topics, p.results, p.nodes)
	out.Adopt(p.lease)
	p.lease = nil
	p.put()
	return socket.Send(out)
}

// appendAll appends what is there for each partition and fills the results.
func (p *produce) appendAll(r *socket.Request) {
	im := p.a.opt.Image()
	transactional := p.transactionalWithoutID()
	parts := p.req.Partitions
	for _, t := range p.req.Topics {
		known := im.Topic(alias(t.Name))
		var name string
		if known != nil {
			name = known.Name
		} else {
			name = string(t.Name) // outlives the body if another partition waits
		}
		p.topics = append(p.topics, protocol.ProduceTopicResult{Name: name, Count: t.Count})
		for i := range parts[:t.Count] {
			p.results = append(p.results, protocol.ProduceResult{
				Partition: parts[i].Partition, BaseOffset: -1, LogAppendTime: -1, LogStartOffset: -1, Leader: protocol.NoLeader,
			})
			tp := kafka.TopicPartition{Topic: name, Partition: parts[i].Partition}
			if transactional {
				p.results[len(p.results)-1].Err = protocol.TransactionalIDAuthorizationFailed
			} else if err := p.append(r, im, tp, parts[i].Records); err != nil {
				p.fail(im, tp, err)
			}
		}
		parts = parts[t.Count:]
	}
}

// append stores the records of one partition into the last result.
func (p *produce) append(r *socket.Request, im *cluster.Image, tp kafka.TopicPartition, recs []byte) error {
	if im.Partition(tp) == nil {
		return protocol.UnknownTopicOrPartition
	}
	if nothingWhole(r.Version, recs) {
		return nil
	}
	recs, err := oneBatch(r.Version, recs)
	if err != nil {
		return err
	}
	if acks := p.req.Acks; acks < -1 || acks > 1 {
		return protocol.InvalidRequiredAcks
	}
	if kafka.IsInternalTopic(tp.Topic) && r.ClientID != adminClientID {
		return protocol.InvalidTopic
	}
	if recs[magicAt] == 2 && batchAttributes(recs)&batch.AttrTransactional != 0 {
		// No transactional id has a producer yet.
		return protocol.InvalidProducerIDMapping
	}
	done, err := p.a.opt.Replicas.Append(tp, recs, p.req.Acks, log.Client)
	if err != nil {
		return err
	}
	res := &p.results[len(p.results)-1]
	res.BaseOffset, res.LogAppendTime, res.LogStartOffset = done.FirstOffset, done.LogAppendTime, done.LogStartOffset
	if p.req.Acks == -1 && !done.Replicated {
		p.waits = append(p.waits, produceWait{result: len(p.results) - 1, tp: tp, appended: done})
	}
	return nil
}

// fail sets the last result.
func (p *produce) fail(im *cluster.Image, tp kafka.TopicPartition, err error) {
	res := &p.results[len(p.results)-1]
	res.Err = protocol.CodeOf(err)
	if res.Err == protocol.UnknownTopicOrPartition && im.Partition(tp) != nil {
		res.Err = protocol.NotLeaderOrFollower // it exists, elsewhere
	}
	var f *protocol.Failure
	if errors.As(err, &f) {
		res.Message, res.Records, res.LogStartOffset = f.Message, f.Records, f.LogStartOffset
	}
	p.moved(im, res, tp, err)
	if f == nil && res.Err == protocol.UnknownServerError { // nobody foresaw it; a client's own fault is a Failure and no line
		p.a.log.Error("append failed", "topic", tp.Topic, "partition", tp.Partition, "error", err)
	}
}

// moved names the leader beside NOT_LEADER_OR_FOLLOWER (KIP-951).
func (p *produce) moved(im *cluster.Image, res *protocol.ProduceResult, tp kafka.TopicPartition, err error) {
	if res.Err != protocol.NotLeaderOrFollower || p.version < 10 {
		return
	}
	res.Leader = leaderOf(im, tp, err)
	p.nodes = addNode(p.nodes, im, p.listener, res.Leader)
}

// firstError tells why a Produce with acks=0 closes its connection.
func (p *produce) firstError() error {
	i := 0
	for _, t := range p.topics {
		for range t.Count {
			if e := p.results[i].Err; e != protocol.None {
				return fmt.Errorf("produce without acknowledgement to %s-%d: %w", t.Name, p.results[i].Partition, e)
			}
			i++
		}
	}
	return nil
}

// park waits for the replicas of what was appended.
func (p *produce) park(r *socket.Request) socket.Reply {
	p.from = *r
	p.from.Body = nil
	p.pending = r.Park(p.gather, p.cancel)
	pending := p.pending // p may be answered, and used again, before the loop ends
	p.left.Store(int32(len(p.waits)) + 1)
	wait := time.Duration(max(p.req.TimeoutMs, 0)) * time.Millisecond
	for i := range p.waits {
		w := &p.waits[i]
		w.cancel = p.a.opt.Replicas.AwaitReplicated(w.tp, w.appended.LastOffset, w.appended.Epoch, wait, func(err error) { p.replicated(i, err) })
	}
	p.finished()
	return socket.Parked(pending)
}

// replicated ends the wait of one partition; each is told once.
func (p *produce) replicated(wait int, err error) {
	if err != nil {
		p.results[p.waits[wait].result].Err = protocol.CodeOf(err)
		if p.version >= 10 && protocol.CodeOf(err) == protocol.NotLeaderOrFollower {
			p.results[p.waits[wait].result].Leader = leaderOf(p.a.opt.Image(), p.waits[wait].tp, err)
		}
	}
	p.finished()
}

func (p *produce) finished() {
	if p.left.Add(-1) == 0 {
		p.pending.Complete()
	}
}

// gather makes the reply of a parked p, when its turn has come.
func (p *produce) gather() socket.Reply {
	im := p.a.opt.Image()
	for i := range p.waits {
		p.nodes = addNode(p.nodes, im, p.listener, p.results[p.waits[i].result].Leader)
	}
	return p.reply(&p.from)
}

// cancel gives up waiting; the records stay. p is left to the collector, since
// a wait may be ending just now.
func (p *produce) cancel() {
	for i := range p.waits {
		p.waits[i].cancel()
	}
	p.lease.Release()
}

// transactionalWithoutID reports whether a batch belongs to a transaction and
// the request has no transactional id, which refuses all of it.
func (p *produce) transactionalWithoutID() bool {
	if p.req.TransactionalID != nil {
		return false
	}
	for i := range p.req.Partitions {
		recs := p.req.Partitions[i].Records
		if len(recs) >= batch.HeaderSize && recs[magicAt] == 2 && batchAttributes(recs)&batch.AttrTransactional != 0 {
			return true
		}
	}
	return false
}

// Places in the header of a batch.
const (
	lengthAt     = 8
	magicAt      = 16
	attributesAt = 21
)

// batchAttributes are the attributes of a whole batch of magic 2.
func batchAttributes(b []byte) int16 {
	return int16(binary.BigEndian.Uint16(b[attributesAt:]))
}

// oneBatch cuts records to the one batch that a request may have for a
// partition; what is there of a second that is cut short is left out. It is
// ProduceRequest.validateRecords of Kafka.
func oneBatch(version int16, recs []byte) ([]byte, error) {
	first, rest, err := cutBatch(recs)
	if err != nil {
		return nil, err
	}
	if first == nil {
		return nil, protocol.InvalidRecord
	}
	switch first[magicAt] {
	case 0, 1:
		if version < 3 {
			return recs, nil
		}
		return nil, protocol.InvalidRecord
	}
	if len(first) < batch.HeaderSize {
		return nil, protocol.CorruptMessage
	}
	if version < 7 && batch.Codec(batchAttributes(first)&batch.AttrCodecMask) == batch.Zstd {
		return nil, protocol.UnsupportedCompressionType
	}
	if second, _, err := cutBatch(rest); err != nil {
		return nil, err
	} else if second != nil {
		return nil, protocol.InvalidRecord
	}
	return first, nil
}

// minRecordSize is the length of the smallest message of any magic.
const minRecordSize = 14

// cutBatch takes a batch off the front; nil if it is not there whole.
func cutBatch(recs []byte) (first, rest []byte, err error) {
	if len(recs) < batch.MinParse {
		return nil, nil, nil
	}
	size := int64(int32(binary.BigEndian.Uint32(recs[lengthAt:])))
	if size < minRecordSize {
		return nil, nil, protocol.CorruptMessage
	}
	if magic := int8(recs[magicAt]); magic < 0 || magic > 2 {
		return nil, nil, protocol.Fail(protocol.CorruptMessage, fmt.Sprintf("Invalid magic found in record: %d", magic))
	}
	if size += batch.LengthPrefix; size > int64(len(recs)) {
		return nil, nil, nil
	}
	return recs[:size], recs[size:], nil
}
