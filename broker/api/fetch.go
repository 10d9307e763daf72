package api

// Fetch (1), versions 0–17.
//
//	0   messages of format 0   1   throttle time
//	2   format 1               3   a limit for the whole answer (KIP-74)
//	4   batches; isolation level, last stable offset, aborted transactions
//	5   log start offset       7   sessions (KIP-227)
//	9   leader epoch           11  rack, preferred replica (KIP-392)
//	12  flexible; last fetched epoch, diverging epoch
//	13  topic ids              15  the replica's state is a tagged field
//	16  the new leader with an error (KIP-951)
//	17  the replica's directory

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/broker/fetchsession"
	"barnabas/broker/purgatory"
	"barnabas/broker/replica"
	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/net/frame"
	"barnabas/net/socket"
	"barnabas/protocol"
)

// errReplicaID closes the connection of a reader that is neither a consumer nor
// a broker, as Kafka does.
var errReplicaID = errors.New("api: fetch by a debugging replica")

// fetchElement is what an element of a Fetch takes until it is answered, in bytes:
// a partition as it was asked for, in its session, and as it was read.
const fetchElement = 512

// fetch is one Fetch under way.
type fetch struct {
	a        *API
	from     socket.Request // without the body
	session  *fetchsession.Fetch
	follower bool
	replica  replica.FollowerArgs // if follower; its log start differs by partition
	reader   replica.ReadArgs     // what is the same for all partitions
	nearby   replica.Nearby       // of the reader, if it is a consumer of version 11 or newer
	parts    []fetchPart          // in the order of session.Partitions
	maxBytes int
	minBytes int64
	waiter   *purgatory.Waiter[kafka.TopicPartition]
	lease    *frame.Lease // for many partitions

	// Of the answer.
	found []fetchsession.Found
	tell  []bool
	nodes []protocol.Node

	// Of decoding.
	req       *kmsg.FetchRequest
	wants     []fetchsession.Partition
	forgotten []fetchsession.Key
	buf       []fetchsession.Partition // for session.Partitions
	args      replica.ReadArgs         // of readPart, which would allocate it
}

// fetchPart is one partition of a fetch.
type fetchPart struct {
	tp      kafka.TopicPartition
	refused protocol.Error // found before reading; not read then
	data    replica.Data
	err     error
}

func (a *API) getFetch() *fetch {
	if f, ok := a.scratch.fetches.Get().(*fetch); ok {
		return f
	}
	return &fetch{a: a, req: kmsg.NewPtrFetchRequest()}
}

// put returns f to the pool without what it refers to.
func (f *fetch) put() {
	f.lease.Release()
	clear(f.parts)
	clear(f.nodes)
	clear(f.wants)
	clear(f.forgotten)
	clear(f.buf)
	*f = fetch{
		a: f.a, req: f.req, parts: f.parts[:0], found: f.found[:0], tell: f.tell[:0],
		nodes: f.nodes[:0], wants: f.wants[:0], forgotten: f.forgotten[:0], buf: f.buf[:0],
	}
	// Older versions leave fields unread, so nothing may stay in them.
	*f.req = kmsg.FetchRequest{Topics: f.req.Topics[:0], ForgottenTopics: f.req.ForgottenTopics[:0]}
	f.a.scratch.fetches.Put(f)
}

func (a *API) fetch(ctx context.Context, r *socket.Request) socket.Reply {
	f := a.getFetch()
	if err := f.decode(r); err != nil {
		f.put()
		return socket.CloseConn(err)
	}
	r.Follower = f.follower
	f.from = *r
	f.from.Body = nil
	f.begin(r.Arrived)
	if f.session.Err != protocol.None {
		return f.refuse(f.session.Err)
	}
	f.resolve(ctx)

	wait := time.Duration(max(f.req.MaxWaitMillis, 0)) * time.Millisecond
	size, complete := f.read()
	if wait == 0 || complete || size >= f.minBytes {
		return f.answer()
	}
	f.release()
	return f.park(r, wait)
}

// decode reads the request. Topic names are copied, since sessions keep them.
func (f *fetch) decode(r *socket.Request) error {
	n, err := protocol.CountElements(r.Key, r.Version, r.Body)
	if err != nil {
		return err
	}
	if f.lease, err = r.Lease(int64(n) * fetchElement); err != nil {
		return err
	}
	f.req.SetVersion(r.Version)
	if err := f.req.ReadFrom(r.Body); err != nil {
		return fmt.Errorf("%w: Fetch version %d: %v", protocol.ErrMalformed, r.Version, err)
	}
	id, epoch := f.req.ReplicaID, int64(-1)
	if r.Version >= 15 {
		id, epoch = f.req.ReplicaState.ID, f.req.ReplicaState.Epoch
	}
	if id < -1 {
		return errReplicaID
	}
	f.follower = id >= 0
	f.replica = replica.FollowerArgs{ID: kafka.BrokerID(id), Epoch: kafka.BrokerEpoch(epoch)}
	return nil
}

// begin enters the request into its session.
func (f *fetch) begin(now time.Time) {
	req, v := f.req, f.from.Version
	for i := range req.Topics {
		t := &req.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			f.wants = append(f.wants, fetchsession.Partition{
				Key:    fetchsession.Key{Topic: t.Topic, ID: t.TopicID, Partition: p.Partition},
				Offset: p.FetchOffset, LogStartOffset: p.LogStartOffset, MaxBytes: p.PartitionMaxBytes,
				CurrentEpoch: kafka.LeaderEpoch(p.CurrentLeaderEpoch), LastFetchedEpoch: kafka.LeaderEpoch(p.LastFetchedEpoch),
			})
		}
	}
	for i := range req.ForgottenTopics {
		t := &req.ForgottenTopics[i]
		for _, p := range t.Partitions {
			f.forgotten = append(f.forgotten, fetchsession.Key{Topic: t.Topic, ID: t.TopicID, Partition: p})
		}
	}
	epoch := req.SessionEpoch
	if v < 7 {
		epoch = -1
	}
	f.session = f.a.sessions.Begin(now, &fetchsession.Request{
		SessionID: req.SessionID, Epoch: epoch, ByID: v >= 13, Follower: f.follower,
		Partitions: f.wants, Forgotten: f.forgotten,
	}, f.buf)
	f.buf = f.session.Partitions // resolve may replace those, so that we keep them
	f.maxBytes = min(max(int(req.MaxBytes), 0), f.a.opt.FetchMaxBytes)
	f.minBytes = int64(min(int(req.MinBytes), f.maxBytes))
	f.reader = replica.ReadArgs{Isolation: replica.ReadUncommitted}
	if req.IsolationLevel == 1 {
		f.reader.Isolation = replica.ReadCommitted
	}
	if v >= 11 && !f.follower {
		f.nearby = replica.Nearby{Rack: req.Rack, Listener: f.from.Conn.Listener()}
		f.reader.Nearby = &f.nearby
	}
}

// imageWait is how long a fetch by an id that is not known yet waits for the
// image, which may be a moment behind the client's.
const imageWait = 100 * time.Millisecond

// resolve finds the partitions. Those that are refused before they are read
// come last, in the answer and in a new session.
func (f *fetch) resolve(ctx context.Context) {
	im := f.a.opt.Image()
	if f.a.opt.AwaitImage != nil && !f.knowsAll(im) {
		ctx, cancel := context.WithTimeout(ctx, imageWait)
		// Whatever comes of it, the newest image is what counts.
		_ = f.a.opt.AwaitImage(ctx, f.knowsAll)
		cancel()
		im = f.a.opt.Image()
	}
	ps := f.session.Partitions
	refused := 0
	for i := range ps {
		f.parts = append(f.parts, f.find(im, &ps[i].Key))
		if f.parts[i].refused != protocol.None {
			refused++
		}
	}
	if refused == 0 || refused == len(ps) {
		return
	}
	order, parts := make([]fetchsession.Partition, 0, len(ps)), make([]fetchPart, 0, len(ps))
	for _, last := range []bool{false, true} {
		for i := range ps {
			if (f.parts[i].refused != protocol.None) == last {
				order, parts = append(order, ps[i]), append(parts, f.parts[i])
			}
		}
	}
	f.session.Partitions, f.parts = order, parts
}

// knowsAll reports whether the image has every topic id of the fetch.
func (f *fetch) knowsAll(im *cluster.Image) bool {
	if f.from.Version < 13 {
		return true
	}
	for i := range f.session.Partitions {
		if im.TopicByID(f.session.Partitions[i].ID) == nil {
			return false
		}
	}
	return true
}

// find names one partition, or refuses it.
func (f *fetch) find(im *cluster.Image, k *fetchsession.Key) fetchPart {
	p := fetchPart{tp: kafka.TopicPartition{Topic: k.Topic, Partition: k.Partition}}
	if f.from.Version >= 13 {
		t := im.TopicByID(k.ID)
		if t == nil {
			p.refused = protocol.UnknownTopicID
			return p
		}
		p.tp.Topic = t.Name
	}
	if im.Partition(p.tp) == nil {
		p.refused = protocol.UnknownTopicOrPartition
	} else {
		p.refused = f.refusesOld(im.Topic(p.tp.Topic))
	}
	return p
}

// read reads all partitions within the limits. size is what was found; complete
// asks for an answer without waiting for more: an error, histories that
// diverge, or nothing to read at all.
func (f *fetch) read() (size int64, complete bool) {
	left, minOne, readable := f.maxBytes, f.minOne(), false
	room := f.room()
	for i := range f.parts {
		p := &f.parts[i]
		if p.refused != protocol.None {
			continue
		}
		readable = true
		f.readPart(i, left, minOne, room)
		if p.err != nil || p.data.Diverging != nil || p.data.Now {
			complete = true
		}
		if n := p.data.Records.Length; n > 0 {
			minOne = false // the limits hold from the first records on
			left, room = max(0, left-int(n)), f.roomAfter(room, p.tp, n)
			size += n
		}
	}
	return size, complete || !readable
}

// readPart reads one partition.
func (f *fetch) readPart(i, left int, minOne bool, room int64) {
	want, p := &f.session.Partitions[i], &f.parts[i]
	f.args = f.argsOf(p.tp, want, left, minOne, room)
	p.data, p.err = f.a.opt.Replicas.Read(&f.args)
}

// argsOf asks for one partition. It reads f only.
func (f *fetch) argsOf(tp kafka.TopicPartition, want *fetchsession.Partition, left int, minOne bool, room int64) replica.ReadArgs {
	args := f.reader
	args.TP, args.TopicID, args.Offset = tp, want.ID, want.Offset
	args.Epoch, args.LastFetched = want.CurrentEpoch, want.LastFetchedEpoch
	args.MaxBytes, args.MinOne = min(max(int(want.MaxBytes), 0), left), minOne
	if f.follower {
		who := f.replica
		who.LogStart = want.LogStartOffset
		if room != noThrottle && f.a.opt.Throttle.Covers(tp.Topic, tp.Partition) {
			who.Limited, who.Room = true, int(room)
		}
		args.Follower = &who
	}
	return args
}

// release gives back what read found.
func (f *fetch) release() {
	for i := range f.parts {
		f.parts[i].data.Records.Release()
		f.parts[i].data, f.parts[i].err = replica.Data{}, nil
	}
}

// park waits for more data, holding no range.
func (f *fetch) park(r *socket.Request, wait time.Duration) socket.Reply {
	keys := make([]kafka.TopicPartition, 0, len(f.parts))
	for i := range f.parts {
		if f.parts[i].refused == protocol.None {
			keys = append(keys, f.parts[i].tp)
		}
	}
	pending := r.Park(f.gather, f.cancel)
	f.waiter = f.a.opt.Fetches.Park(keys, wait, f.ready, func(purgatory.Outcome) { pending.Complete() })
	return socket.Parked(pending)
}

// ready reports whether enough has come. It may run several times at once, so
// it touches nothing of f.
func (f *fetch) ready() bool {
	var size int64
	left, minOne, room := f.maxBytes, f.minOne(), f.room()
	for i := range f.parts {
		if f.parts[i].refused != protocol.None {
			continue
		}
		want := &f.session.Partitions[i]
		args := f.argsOf(f.parts[i].tp, want, left, minOne, room)
		data, err := f.a.opt.Replicas.Read(&args)
		n := data.Records.Length
		data.Records.Release()
		if err != nil || data.Diverging != nil || data.Now {
			return true
		}
		if n > 0 {
			minOne = false
			left, room = max(0, left-int(n)), f.roomAfter(room, f.parts[i].tp, n)
		}
		if size += n; size >= f.minBytes {
			return true
		}
	}
	return false
}

// gather answers a fetch that was parked, when its turn has come.
func (f *fetch) gather() socket.Reply {
	f.read()
	return f.answer()
}

// cancel forgets a fetch that was parked. f is left to the collector, since a
// wake-up may be looking at it just now.
func (f *fetch) cancel() {
	f.waiter.Cancel()
	f.lease.Release()
}

// refuse answers a request whose session is not what it thinks.
func (f *fetch) refuse(err protocol.Error) socket.Reply {
	v := f.from.Version
	out := f.from.NewOut()
	out.B = protocol.AppendFetchHead(out.B, v, err, 0, 0)
	out.B = protocol.AppendFetchEnd(out.B, v, nil)
	f.lease.Release()
	return socket.Send(out)
}

// answer encodes what was read, and ends f.
func (f *fetch) answer() socket.Reply {
	f.convert()
	for i := range f.parts {
		p := &f.parts[i]
		found := fetchsession.Found{HighWatermark: -1, LogStartOffset: -1, Failed: p.err != nil || p.refused != protocol.None}
		if !found.Failed {
			found.HighWatermark, found.LogStartOffset = p.data.HighWatermark, p.data.LogStartOffset
			found.Records, found.Diverging, found.Preferred = p.data.Records.Length > 0, p.data.Diverging != nil, p.data.Elsewhere
		}
		f.found, f.tell = append(f.found, found), append(f.tell, false)
	}
	id, err := f.session.Finish(f.from.Arrived, f.found, f.tell)
	if err != protocol.None {
		f.release()
		return f.refuse(err)
	}
	f.a.fetched.count(f)
	f.countThrottled()
	out := f.from.NewOut()
	f.encode(out, id)
	out.Adopt(f.lease)
	f.lease = nil
	if f.waiter == nil { // nobody else can look at f
		f.put()
	}
	return socket.Send(out)
}
