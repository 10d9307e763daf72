package api

import (
	"bytes"
	"cmp"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/broker/replica"
	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
	"barnabas/log"
	"barnabas/log/batch"
)

// walked is replicas of which every partition of a session is looked at for each
// fetch: without a watch nothing is settled.
type walked struct {
	Replicas
	reads atomic.Int64
	walk  bool
}

func (w *walked) Read(a *replica.ReadArgs) (replica.Data, error) {
	w.reads.Add(1)
	if w.walk {
		a.Watch = nil
	}
	return w.Replicas.Read(a)
}

// side is one of two brokers to which the same happens.
type side struct {
	b     *broker
	m     *replica.Manager
	reads *walked
	asked []string // for other ISRs
	asks  []*replica.Proposal
}

const (
	modelTopics     = 2
	modelPartitions = 5
)

func modelOptions() log.Options {
	o := log.DefaultOptions()
	o.SegmentBytes, o.RetentionBytes = 500, 800
	return o
}

func newSide(t *testing.T, im *cluster.Image, walk bool) *side {
	logs, err := log.OpenManager(t.Context(), log.ManagerOptions{
		FS: vfs.NewMem(), Dirs: []string{"/data"}, Defaults: modelOptions(), BootID: "boot", Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := logs.Close(); err != nil {
			t.Error(err)
		}
	})
	s := &side{}
	s.m = replica.NewManager(replica.Options{
		Self: 1, Logs: logs, Topic: func(map[string]string) (int, log.Options) { return 2, modelOptions() },
		Logger: slog.New(slog.DiscardHandler), LagMax: time.Hour,
		Propose: func(p *replica.Proposal) {
			s.asked = append(s.asked, fmt.Sprint(p.TP, p.LeaderEpoch, p.PartitionEpoch, p.ISR))
			s.asks = append(s.asks, p)
		},
	})
	ended := make(chan error)
	ctx := t.Context()
	go func() { ended <- s.m.Run(ctx) }()
	t.Cleanup(func() { <-ended })
	s.reads = &walked{Replicas: s.m, walk: walk}
	s.b = serveImage(t, s.reads, s.m.Fetches(), im)
	return s
}

// model drives both sides.
type model struct {
	t       *testing.T
	rng     *rand.Rand
	sides   [2]*side // that under test, and the one that walks
	im      atomic.Pointer[cluster.Image]
	zxid    int64
	states  map[kafka.TopicPartition]*cluster.EntryState
	ids     []kafka.TopicID // by topic; zero: deleted
	serial  byte
	readers []*twin
	history []string
}

func topicName(i int) string { return fmt.Sprintf("t%d", i) }

func (m *model) say(format string, args ...any) {
	m.history = append(m.history, fmt.Sprintf(format, args...))
}

func (m *model) fail(format string, args ...any) {
	m.t.Helper()
	for _, h := range m.history[max(0, len(m.history)-40):] {
		m.t.Log(h)
	}
	m.t.Fatalf(format, args...)
}

// tp is any partition.
func (m *model) tp() kafka.TopicPartition {
	return kafka.TopicPartition{Topic: topicName(m.rng.IntN(modelTopics)), Partition: int32(m.rng.IntN(modelPartitions))}
}

// both does the same to both sides, and compares what comes of it.
func (m *model) both(what string, do func(*side) string) {
	m.t.Helper()
	a, b := do(m.sides[0]), do(m.sides[1])
	m.say("%s: %s", what, a)
	if a != b {
		m.fail("%s: %s, where all is looked at %s", what, a, b)
	}
}

// publish makes an image of the states, and waits until both are there.
func (m *model) publish() {
	e := cluster.NewEdit(cluster.Empty())
	for id := kafka.BrokerID(1); id <= 3; id++ {
		e.ReadBroker(&cluster.Broker{ID: id, Epoch: 5, Zxid: 5, Endpoints: []cluster.Endpoint{{Listener: "PLAINTEXT", Host: "host", Port: 9090, Protocol: "PLAINTEXT"}}})
	}
	for i, id := range m.ids {
		if id.IsZero() {
			continue
		}
		assign := map[int32]cluster.Assignment{}
		for p := range int32(modelPartitions) {
			assign[p] = cluster.Assignment{Replicas: []kafka.BrokerID{1, 2, 3}}
		}
		e.ReadTopic(cluster.TopicRead{Name: topicName(i), ID: id, Assignment: assign, Zxid: m.zxid})
		for p := range int32(modelPartitions) {
			tp := kafka.TopicPartition{Topic: topicName(i), Partition: p}
			s := m.states[tp]
			e.ReadState(tp, *s, int64(s.ControllerEpoch), int64(s.ControllerEpoch)) // the fake zxid of the state
		}
	}
	im, _ := e.Publish()
	old := m.im.Swap(im)
	changes := cluster.Diff(old, im)
	for _, s := range m.sides {
		s.m.Follow(im, changes)
	}
	for _, s := range m.sides {
		await(m.t, s.m.Idle)
	}
}

// change gives a partition a new state.
func (m *model) change(tp kafka.TopicPartition, do func(*cluster.EntryState)) {
	m.zxid++
	s := *m.states[tp]
	s.ControllerEpoch, s.ZnodeVersion = kafka.ControllerEpoch(m.zxid), s.ZnodeVersion+1
	do(&s)
	m.states[tp] = &s
	m.say("state of %s: leader %d in %d, ISR %v", tp, s.Leader, s.LeaderEpoch, s.ISR)
}

func (m *model) makeTopic(i int) {
	m.zxid++
	m.serial++
	m.ids[i] = kafka.TopicID{0: byte(i), 15: m.serial}
	for p := range int32(modelPartitions) {
		leader := kafka.BrokerID(1)
		if p == modelPartitions-1 {
			leader = 2
		}
		m.states[kafka.TopicPartition{Topic: topicName(i), Partition: p}] = &cluster.EntryState{
			Partition: p, Leader: leader, ISR: []kafka.BrokerID{1, 2, 3}, ControllerEpoch: kafka.ControllerEpoch(m.zxid),
		}
	}
}

// step does something to a partition or to all.
func (m *model) step() {
	tp := m.tp()
	switch m.rng.IntN(24) {
	default:
		recs := records(m.t, m.rng.IntN(100), plain())
		m.both("append to "+tp.String(), func(s *side) string {
			a, err := s.m.Append(tp, bytes.Clone(recs), 1, log.Client)
			return fmt.Sprint(a.LastOffset, err)
		})
	case 0, 1, 2, 3:
		m.copyFrom(tp)
	case 4:
		offset := int64(m.rng.IntN(3)) - 1
		m.both(fmt.Sprintf("delete records of %s to the start + %d", tp, offset), func(s *side) string {
			d := replica.Deletion{TP: tp, Offset: replica.ToHighWatermark}
			if l := s.m.Log(tp); l != nil && offset >= 0 {
				d.Offset = l.StartOffset() + offset
			}
			out := s.m.DeleteRecords(m.t.Context(), []replica.Deletion{d}, 0)[0]
			return fmt.Sprint(out.LowWatermark)
		})
	case 5:
		m.both("retention of "+tp.String(), func(s *side) string {
			l := s.m.Log(tp)
			if l == nil {
				return "no log"
			}
			n, err := l.Retain(time.Now())
			return fmt.Sprint(n, err)
		})
	case 6:
		m.change(tp, func(s *cluster.EntryState) {
			s.LeaderEpoch++
			s.Leader = kafka.BrokerID(1 + m.rng.IntN(2))
		})
		m.publish()
	case 7:
		m.change(tp, func(s *cluster.EntryState) {
			s.ISR = []kafka.BrokerID{1, 2, 3}[:1+m.rng.IntN(3)]
		})
		m.publish()
	case 8:
		if m.rng.IntN(4) > 0 {
			return
		}
		i := m.rng.IntN(modelTopics)
		if m.zxid++; m.ids[i].IsZero() {
			m.makeTopic(i)
		} else {
			m.ids[i] = kafka.TopicID{}
		}
		m.say("topic %d is now %v", i, m.ids[i])
		m.publish()
	case 9:
		if m.rng.IntN(4) > 0 {
			return
		}
		m.both("registration lost", func(s *side) string { s.m.SetRegistration(0, 0); return "" })
		// Whether the states are taken anew without a registration, or with the next one,
		// is a matter of time, and decides whether the leadership is a new one.
		m.both("idle", func(s *side) string { await(m.t, s.m.Idle); return "" })
		if m.rng.IntN(2) > 0 {
			m.readers[m.rng.IntN(len(m.readers))].fetch()
		}
		m.both("registration back", func(s *side) string { s.m.SetRegistration(5, 5); return "" })
		m.both("idle", func(s *side) string { await(m.t, s.m.Idle); return "" })
	case 10, 11:
		m.answerProposal()
	}
}

// copyFrom does what a follower here does, if the partition is led elsewhere.
func (m *model) copyFrom(tp kafka.TopicPartition) {
	st, how, size, hw := m.states[tp], m.rng.IntN(8), m.rng.IntN(100), int64(m.rng.IntN(3))
	i := slices.IndexFunc(m.ids, func(id kafka.TopicID) bool { return !id.IsZero() && tp.Topic == topicName(int(id[0])) })
	if st == nil || st.Leader == 1 || i < 0 {
		return
	}
	f := &replica.Following{TP: tp, TopicID: m.ids[i], Leader: st.Leader, Epoch: st.LeaderEpoch}
	recs := records(m.t, size, plain())
	m.both(fmt.Sprintf("copying %s (%d)", tp, how), func(s *side) string {
		l := s.m.Log(tp)
		if l == nil {
			return "no log"
		}
		end := l.EndOffset()
		var err error
		switch how {
		case 0:
			err = s.m.Diverged(f, replica.EpochEnd{Epoch: st.LeaderEpoch, Offset: end - 1})
		case 1:
			err = s.m.OutOfRange(f, end+2, end+5)
		case 2:
			err = s.m.AppendFetched(f, nil, end, l.StartOffset()+1)
		default:
			r := bytes.Clone(recs)
			batch.SetOffset(r, end)
			batch.SetLeaderEpoch(r, int32(st.LeaderEpoch))
			err = s.m.AppendFetched(f, r, end+1-hw, 0)
		}
		return fmt.Sprint(l.StartOffset(), l.HighWatermark(), l.EndOffset(), err)
	})
}

// answerProposal refuses or takes what was asked for.
func (m *model) answerProposal() {
	a, b := m.sides[0], m.sides[1]
	m.compareAsked()
	if len(a.asks) == 0 {
		return
	}
	ask, same := a.asks[0], b.asks[0]
	a.asks, b.asks = a.asks[1:], b.asks[1:]
	st := m.states[ask.TP]
	if m.rng.IntN(2) == 0 || st.Leader != 1 || st.LeaderEpoch != ask.LeaderEpoch || st.ZnodeVersion != int32(ask.PartitionEpoch) {
		m.say("refused: %s", a.asked[len(a.asked)-1])
		a.m.Refused(ask)
		b.m.Refused(same)
		return
	}
	m.change(ask.TP, func(s *cluster.EntryState) {
		s.ISR = nil
		for _, id := range ask.ISR {
			s.ISR = append(s.ISR, id.ID)
		}
	})
	m.publish()
}

func (m *model) compareAsked() {
	m.t.Helper()
	if a, b := m.sides[0].asked, m.sides[1].asked; !slices.Equal(a, b) {
		m.fail("asked for ISRs\n%v, where all is looked at\n%v", a, b)
	}
}

// twin is a client of both sides: a consumer, or a follower.
type twin struct {
	m        *model
	name     string
	clients  [2]*client
	sessions [2]int32
	req      *kmsg.FetchRequest
	epoch    int32 // of the session
	at       map[kafka.TopicPartition]int64
	start    map[kafka.TopicPartition]int64
	has      map[kafka.TopicPartition]kafka.TopicID // what the session names
	moved    map[kafka.TopicPartition]bool
}

func (m *model) newTwin(version int16, follower int32) *twin {
	r := &twin{m: m, name: fmt.Sprintf("%d in version %d", follower, version), req: kmsg.NewPtrFetchRequest(), at: map[kafka.TopicPartition]int64{}, start: map[kafka.TopicPartition]int64{}}
	for i, s := range m.sides {
		r.clients[i] = s.b.dial()
	}
	r.req.SetVersion(version)
	r.req.ReplicaID, r.req.ReplicaState.ID, r.req.ReplicaState.Epoch = follower, follower, -1
	if follower >= 0 {
		r.req.ReplicaState.Epoch = 5
	}
	r.reset()
	return r
}

// reset begins a new session.
func (r *twin) reset() {
	r.epoch, r.has, r.moved = 0, map[kafka.TopicPartition]kafka.TopicID{}, map[kafka.TopicPartition]bool{}
}

// prepare makes the request: mostly what moved, sometimes something else.
func (r *twin) prepare() {
	m, q := r.m, r.req
	q.Topics, q.ForgottenTopics = nil, nil
	q.MaxWaitMillis, q.MinBytes, q.MaxBytes = 0, 1, 1<<20
	if m.rng.IntN(3) == 0 {
		q.MaxBytes = int32(m.rng.IntN(400))
	}
	switch m.rng.IntN(40) {
	case 0:
		r.reset()
	case 1:
		q.IsolationLevel = 1 - q.IsolationLevel
	case 2:
		if q.ReplicaState.ID >= 0 {
			q.ReplicaState.Epoch = 9 - q.ReplicaState.Epoch // 5 or 4
		}
	}
	for i, id := range m.ids {
		var t kmsg.FetchRequestTopic
		t.Topic, t.TopicID = topicName(i), id
		f := kmsg.FetchRequestForgottenTopic{Topic: t.Topic}
		for p := range int32(modelPartitions) {
			tp := kafka.TopicPartition{Topic: t.Topic, Partition: p}
			known, in := r.has[tp]
			switch {
			case in && (known != id && q.Version >= 13 || m.rng.IntN(60) == 0): // the old one
				f.TopicID = known
				f.Partitions = append(f.Partitions, p)
				delete(r.has, tp)
			case in && !r.moved[tp] && m.rng.IntN(30) > 0, id.IsZero() && m.rng.IntN(4) > 0, !in && r.epoch > 0 && m.rng.IntN(3) > 0:
			default:
				fp := kmsg.NewFetchRequestTopicPartition()
				fp.Partition, fp.FetchOffset, fp.LogStartOffset, fp.PartitionMaxBytes = p, r.at[tp], r.start[tp], 300
				fp.CurrentLeaderEpoch, fp.LastFetchedEpoch = -1, -1
				if st := m.states[tp]; m.rng.IntN(3) == 0 {
					fp.CurrentLeaderEpoch = int32(st.LeaderEpoch)
				}
				t.Partitions = append(t.Partitions, fp)
				r.has[tp] = id
				delete(r.moved, tp)
			}
		}
		if len(t.Partitions) > 0 {
			q.Topics = append(q.Topics, t)
		}
		if len(f.Partitions) > 0 && r.epoch > 0 {
			q.ForgottenTopics = append(q.ForgottenTopics, f)
		}
	}
}

// fetch asks both sides the same, and compares the answers.
func (r *twin) fetch() {
	r.m.t.Helper()
	r.prepare()
	var got [2]*kmsg.FetchResponse
	for i, c := range r.clients {
		c.inTime()
		r.req.SessionID, r.req.SessionEpoch = r.sessions[i], r.epoch
		got[i] = call[*kmsg.FetchResponse](c, r.req)
		r.sessions[i] = got[i].SessionID
		got[i].SessionID = min(got[i].SessionID, 1)
	}
	a, b := got[0].AppendTo(nil), got[1].AppendTo(nil)
	r.m.say("%s fetches in epoch %d, %d named: %d bytes", r.name, r.epoch, len(r.req.Topics), len(a))
	if !bytes.Equal(a, b) {
		r.m.fail("%s: got\n%+v, where all is looked at\n%+v", r.name, got[0].Topics, got[1].Topics)
	}
	r.m.compareAsked()
	if got[0].SessionID == 0 {
		r.reset()
		return
	}
	r.epoch++
	for _, t := range got[0].Topics {
		name := cmp.Or(t.Topic, topicName(int(t.TopicID[0])))
		for i := range t.Partitions {
			p := &t.Partitions[i]
			r.take(kafka.TopicPartition{Topic: name, Partition: p.Partition}, p)
		}
	}
}

// take moves on by what was answered.
func (r *twin) take(tp kafka.TopicPartition, p *kmsg.FetchResponseTopicPartition) {
	before := r.at[tp]
	r.at[tp] = after(p.RecordBatches, before)
	if p.ErrorCode != 0 && r.m.rng.IntN(2) == 0 {
		r.at[tp] = 0
		for _, s := range r.m.sides {
			if l := s.m.Log(tp); l != nil {
				r.at[tp] = l.StartOffset() + int64(r.m.rng.IntN(int(l.EndOffset()-l.StartOffset())+1))
			}
		}
		r.moved[tp] = true
	}
	if start := max(r.start[tp], p.LogStartOffset); r.req.ReplicaState.ID >= 0 && start > r.start[tp] {
		r.start[tp], r.moved[tp] = start, true
	}
	if r.at[tp] != before {
		r.moved[tp] = true
	}
}

// TestSessionsTellWhatAWalkTells: whatever happens to the partitions, a session is
// answered as if all of them were looked at for each fetch, and followers count as if
// each had fetched all of them.
func TestSessionsTellWhatAWalkTells(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { runModel(t, seed, 600) })
	}
}

func runModel(t *testing.T, seed uint64, steps int) {
	m := &model{t: t, rng: rand.New(rand.NewPCG(seed, 1)), states: map[kafka.TopicPartition]*cluster.EntryState{}, ids: make([]kafka.TopicID, modelTopics), zxid: 10}
	m.im.Store(cluster.Empty())
	for i := range m.sides {
		m.sides[i] = newSide(t, nil, i == 1)
		m.sides[i].b.api.opt.Image = m.im.Load
		m.sides[i].m.SetRegistration(5, 5)
	}
	for i := range m.ids {
		m.makeTopic(i)
	}
	m.publish()
	for _, id := range []int32{2, 3} {
		m.readers = append(m.readers, m.newTwin(17, id))
	}
	for _, version := range []int16{17, 12, 9} {
		m.readers = append(m.readers, m.newTwin(version, -1))
	}
	for range steps {
		if m.rng.IntN(3) == 0 {
			m.step()
		}
		// Followers in turns, so that what is appended becomes readable.
		m.readers[m.rng.IntN(len(m.readers))].fetch()
	}
	all, few := m.sides[1].reads.reads.Load(), m.sides[0].reads.reads.Load()
	t.Logf("%d partitions looked at, %d where all are", few, all)
	if few > all*3/4 {
		t.Errorf("%d partitions looked at, %d where all are", few, all)
	}
}
