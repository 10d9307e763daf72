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
	wants    []fetchsession.Want  // what is read: all of a full request, else what is due in the session
	parts    []fetchPart          // in the order of wants
	all      int                  // partitions that are asked for
	maxBytes int
	minBytes int64
	waiter   *purgatory.Waiter[kafka.TopicPartition]
	lease    *frame.Lease // for many partitions
	behind   bool         // it waits for leaderships that it knows and this broker does not (newer.go)

	// Of the answer.
	found []fetchsession.Found
	tell  []bool
	nodes []protocol.Node

	// Of decoding.
	req       *kmsg.FetchRequest
	named     []fetchsession.Partition
	forgotten []fetchsession.Key
	args      replica.ReadArgs // of readPart, which would allocate it
	who       replica.FollowerArgs
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
	clear(f.named)
	clear(f.forgotten)
	*f = fetch{
		a: f.a, req: f.req, parts: f.parts[:0], found: f.found[:0], tell: f.tell[:0],
		nodes: f.nodes[:0], wants: f.wants[:0], named: f.named[:0], forgotten: f.forgotten[:0],
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
	f.look()
	f.resolve(f.newest(ctx))

	wait := time.Duration(max(f.req.MaxWaitMillis, 0)) * time.Millisecond
	size, complete, behind := f.read()
	if behind > 0 {
		f.awaitNewer()
		wait = f.a.opt.NewerWait
	}
	if wait == 0 || complete || size >= f.minBytes {
		return f.answer()
	}
	f.settle()
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
			f.named = append(f.named, fetchsession.Partition{
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
	f.maxBytes = min(max(int(req.MaxBytes), 0), f.a.opt.FetchMaxBytes)
	f.minBytes = int64(min(int(req.MinBytes), f.maxBytes))
	f.reader = replica.ReadArgs{Isolation: replica.ReadUncommitted}
	as := fetchsession.As{Version: v, Follower: -1, Committed: req.IsolationLevel == 1}
	if as.Committed {
		f.reader.Isolation = replica.ReadCommitted
	}
	switch {
	case f.follower:
		as.Follower, as.Epoch = f.replica.ID, f.replica.Epoch
	case v >= 11:
		f.nearby = replica.Nearby{Rack: req.Rack, Listener: f.from.Conn.Listener()}
		f.reader.Nearby = &f.nearby
		as.Rack, as.Listener = f.nearby.Rack, f.nearby.Listener
	}
	f.session = f.a.sessions.Begin(now, &fetchsession.Request{
		SessionID: req.SessionID, Epoch: epoch, ByID: v >= 13, As: as, Partitions: f.named, Forgotten: f.forgotten,
	}, f.wants)
	f.wants = f.session.Wants
	f.all = len(f.wants)
}

// look takes what is due in the session, if there is one.
func (f *fetch) look() {
	if f.session.Incremental() {
		clear(f.wants) // what is not overwritten would be kept
		f.wants, f.all, _ = f.session.Look(f.wants[:0])
	}
}

// newest is the image to go by.
func (f *fetch) newest(ctx context.Context) *cluster.Image {
	im := f.a.opt.Image()
	if f.a.opt.AwaitImage != nil && !f.knowsAll(im) {
		ctx, cancel := context.WithTimeout(ctx, f.a.opt.NewerWait)
		// Whatever comes of it, the newest image is what counts.
		_ = f.a.opt.AwaitImage(ctx, f.knowsAll)
		cancel()
		im = f.a.opt.Image()
	}
	return im
}

// resolve finds the partitions. Those that are refused before they are read
// come last, in the answer and in a new session.
func (f *fetch) resolve(im *cluster.Image) {
	clear(f.parts)
	f.parts = f.parts[:0]
	refused := 0
	for i := range f.wants {
		f.parts = append(f.parts, f.find(im, &f.wants[i].Key))
		if f.parts[i].refused != protocol.None {
			refused++
		}
	}
	if refused == 0 || refused == len(f.wants) {
		return
	}
	wants, parts := make([]fetchsession.Want, 0, len(f.wants)), make([]fetchPart, 0, len(f.wants))
	for _, last := range []bool{false, true} {
		for i := range f.wants {
			if (f.parts[i].refused != protocol.None) == last {
				wants, parts = append(wants, f.wants[i]), append(parts, f.parts[i])
			}
		}
	}
	f.wants, f.parts = wants, parts
}

// knowsAll reports whether the image has every topic id of the fetch.
func (f *fetch) knowsAll(im *cluster.Image) bool {
	if f.from.Version < 13 {
		return true
	}
	for i := range f.wants {
		if im.TopicByID(f.wants[i].ID) == nil {
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

// read reads the partitions within the limits. size is what was found; complete
// asks for an answer without waiting for more: an error, histories that
// diverge, or nothing to read at all. behind counts the partitions whose
// leadership this broker has not heard of.
func (f *fetch) read() (size int64, complete bool, behind int) {
	left, minOne, readable := f.maxBytes, f.minOne(), f.all > len(f.wants)
	room := f.room()
	for i := range f.parts {
		p := &f.parts[i]
		if p.refused != protocol.None {
			continue
		}
		readable = true
		f.readPart(i, left, minOne, room)
		if isNewer(p.err) {
			behind++
		} else if endsWait(&p.data, p.err) {
			complete = true
		}
		if n := p.data.Records.Length; n > 0 {
			minOne = false // the limits hold from the first records on
			left, room = max(0, left-int(n)), f.roomAfter(room, p.tp, n)
			size += n
		}
	}
	return size, complete || !readable, behind
}

// endsWait reports whether what was read asks for an answer at once.
func endsWait(d *replica.Data, err error) bool { return err != nil || d.Diverging != nil || d.Now }

// readPart reads one partition.
func (f *fetch) readPart(i, left int, minOne bool, room int64) {
	p := &f.parts[i]
	f.argsOf(&f.args, &f.who, p.tp, &f.wants[i], left, minOne, room)
	p.data, p.err = f.a.opt.Replicas.Read(&f.args)
}

// argsOf asks for one partition. It reads f only.
func (f *fetch) argsOf(args *replica.ReadArgs, who *replica.FollowerArgs, tp kafka.TopicPartition, want *fetchsession.Want, left int, minOne bool, room int64) {
	*args = f.reader
	args.TP, args.TopicID, args.Offset, args.Watch = tp, want.ID, want.Offset, want.Watch
	args.Epoch, args.LastFetched = want.CurrentEpoch, want.LastFetchedEpoch
	args.MaxBytes, args.MinOne = min(max(int(want.MaxBytes), 0), left), minOne
	if f.follower {
		*who = f.replica
		who.LogStart = want.LogStartOffset
		if room != noThrottle && f.a.opt.Throttle.Covers(tp.Topic, tp.Partition) {
			who.Limited, who.Room = true, int(room)
		}
		args.Follower = who
	}
}

// foundIn is what sessions care for in what was read.
func (f *fetch) foundIn(p *fetchPart) fetchsession.Found {
	if p.err != nil || p.refused != protocol.None {
		return fetchsession.Found{HighWatermark: -1, LogStartOffset: -1, Failed: true, Refused: p.refused != protocol.None}
	}
	d := &p.data
	return fetchsession.Found{
		HighWatermark: d.HighWatermark, LogStartOffset: d.LogStartOffset,
		Records: d.Records.Length > 0, Diverging: d.Diverging != nil, Preferred: d.Elsewhere,
		// What refusesOld says depends on more than the partition.
		Settled: d.Settled && f.from.Version >= refusesNone,
	}
}

// settle tells the session what was read before the fetch waits.
func (f *fetch) settle() {
	if !f.session.Incremental() {
		return
	}
	for i := range f.parts {
		f.found = append(f.found, f.foundIn(&f.parts[i]))
	}
	f.session.Settle(f.wants, f.found)
	f.found = f.found[:0]
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
	pending := r.Park(f.gather, f.cancel)
	done := func(purgatory.Outcome) { pending.Complete() }
	if f.session.Incremental() {
		f.waiter = f.a.opt.Fetches.Wait(wait, f.readyInSession, done)
		f.session.Await(f.waiter.Check)
		f.waiter.Check()
		return socket.Parked(pending)
	}
	keys := make([]kafka.TopicPartition, 0, len(f.parts))
	for i := range f.parts {
		if f.parts[i].refused == protocol.None {
			keys = append(keys, f.parts[i].tp)
		}
	}
	f.waiter = f.a.opt.Fetches.Park(keys, wait, f.ready, done)
	return socket.Parked(pending)
}

// ready reports whether enough has come. The reply may be gathered meanwhile, so it
// touches nothing of f.
func (f *fetch) ready() bool {
	g := f.newGauge()
	for i := range f.parts {
		if f.parts[i].refused != protocol.None {
			continue
		}
		if _, enough := g.add(f.parts[i].tp, &f.wants[i]); enough {
			return true
		}
	}
	return g.caughtUp()
}

// looks are slices for readyInSession.
type looks struct {
	wants []fetchsession.Want
	found []fetchsession.Found
}

// readyInSession is ready for a fetch of a session: it looks at what is due, which is
// what has changed since it was found to have nothing.
func (f *fetch) readyInSession() (enough bool) {
	l, ok := f.a.scratch.looks.Get().(*looks)
	if !ok {
		l = new(looks)
	}
	defer func() {
		clear(l.wants)
		f.a.scratch.looks.Put(l)
	}()
	if l.wants, _, enough = f.session.Look(l.wants[:0]); enough {
		return true
	}
	l.found = l.found[:0]
	im, g := f.a.opt.Image(), f.newGauge()
	for i := range l.wants {
		p := f.find(im, &l.wants[i].Key)
		if p.refused != protocol.None {
			enough = !l.wants[i].Refused // it went while the fetch waits; what was not there at first may wait
		} else {
			p.data, enough = g.add(p.tp, &l.wants[i])
		}
		if enough {
			break
		}
		l.found = append(l.found, f.foundIn(&p))
	}
	f.session.Settle(l.wants[:len(l.found)], l.found)
	return enough || g.caughtUp()
}

// gauge adds up what a fetch that waits could be answered with.
type gauge struct {
	f      *fetch
	args   replica.ReadArgs
	who    replica.FollowerArgs
	left   int
	minOne bool
	room   int64
	size   int64
	behind int // partitions whose leadership this broker has not heard of
}

func (f *fetch) newGauge() *gauge {
	return &gauge{f: f, left: f.maxBytes, minOne: f.minOne(), room: f.room()}
}

// add looks at a partition. What it returns holds no range. enough: the wait is over.
func (g *gauge) add(tp kafka.TopicPartition, want *fetchsession.Want) (data replica.Data, enough bool) {
	f := g.f
	f.argsOf(&g.args, &g.who, tp, want, g.left, g.minOne, g.room)
	data, err := f.a.opt.Replicas.Read(&g.args)
	n := data.Records.Length
	data.Records.Release()
	if f.behind && isNewer(err) {
		g.behind++
		return data, false
	}
	if endsWait(&data, err) {
		return data, true
	}
	if n > 0 {
		g.minOne = false
		g.left, g.room = max(0, g.left-int(n)), f.roomAfter(g.room, tp, n)
	}
	g.size += n
	return data, g.size >= f.minBytes
}

// caughtUp ends the wait for leaderships, when all that there is to look at has been
// added: what the client asked for can be told.
func (g *gauge) caughtUp() bool { return g.f.behind && g.behind == 0 }

// gather answers a fetch that was parked, when its turn has come.
func (f *fetch) gather() socket.Reply {
	if f.session.Incremental() {
		f.look()
		f.resolve(f.a.opt.Image())
	}
	f.read()
	return f.answer()
}

// cancel forgets a fetch that was parked. f is left to the collector, since a
// wake-up may be looking at it just now.
func (f *fetch) cancel() {
	f.waiter.Cancel()
	if f.session.Incremental() {
		f.session.Leave()
	}
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
		f.found, f.tell = append(f.found, f.foundIn(&f.parts[i])), append(f.tell, false)
	}
	id, err := f.session.Finish(f.from.Arrived, f.wants, f.found, f.tell)
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
