package testcluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// Member takes part in a consumer group, life after life: it joins, syncs, commits
// larger and larger offsets of what it owns, and then leaves, falls silent, or
// sleeps and goes on as if nothing had happened.
type Member struct {
	Group, Name string
	// Topics are what the group shares; the leader deals out their partitions.
	Topics []Topic
	Seed   uint64
}

// Times of a member. The session's is the least that brokers allow.
const (
	groupSession   = 6 * time.Second
	groupRebalance = 8 * time.Second
	groupBeat      = time.Second
)

// membership is one life of a member in its group.
type membership struct {
	Member
	k *client
	h *History

	id         string // "" until the coordinator gave one
	generation int32
	before     int32 // an earlier generation of this id, 0 if there was none
	at         string
	owned      []kafka.TopicPartition
	next       map[kafka.TopicPartition]int64
}

// run works until ctx ends.
func (m Member) run(ctx context.Context, c *Cluster) {
	k := c.newClient(m.Name, m.Seed)
	defer k.close()
	for ctx.Err() == nil {
		w := &membership{Member: m, k: k, h: c.history}
		err := w.live(ctx)
		c.history.note(m.Name, "of %s: a life ends in generation %d: %v", m.Group, w.generation, err)
		pause(ctx, time.Duration(k.rng.Int64N(int64(3*time.Second))))
	}
}

// errLife ends a life that ends as it should.
var errLife = errors.New("it was time")

// live is one life: rebalances and what lies between.
func (w *membership) live(ctx context.Context) error {
	end := time.Now().Add(3*time.Second + time.Duration(w.k.rng.Int64N(int64(25*time.Second))))
	for ctx.Err() == nil {
		if err := w.join(ctx); err != nil {
			return err
		}
		if w.generation > 1 && w.before > 0 && w.before < w.generation && w.k.rng.IntN(3) == 0 {
			if err := w.commitStale(ctx); err != nil {
				return err
			}
		}
		err := w.work(ctx, end)
		switch {
		case errors.Is(err, protocol.RebalanceInProgress):
			w.before = w.generation
		case errors.Is(err, errLife) && w.k.rng.IntN(2) == 0:
			return errors.Join(err, w.leave(ctx))
		default:
			return err
		}
	}
	return ctx.Err()
}

// find learns where the group is coordinated.
func (w *membership) find(ctx context.Context) (err error) {
	for range 50 {
		if w.at, err = w.k.coordinator(ctx, w.Group); err == nil {
			return nil
		}
		if !pause(ctx, 200*time.Millisecond) {
			return ctx.Err()
		}
	}
	return err
}

// coordinator asks a random broker where a group is coordinated.
func (k *client) coordinator(ctx context.Context, group string) (string, error) {
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.Version, req.CoordinatorKey = 3, group
	resp, err := k.request(ctx, k.anyone(), req)
	if err != nil {
		return "", err
	}
	r := resp.(*kmsg.FindCoordinatorResponse)
	if r.ErrorCode != 0 {
		return "", &refused{protocol.Error(r.ErrorCode), r.ErrorMessage}
	}
	return net.JoinHostPort(r.Host, strconv.Itoa(int(r.Port))), nil
}

// join brings the member into a generation and learns what it owns there.
func (w *membership) join(ctx context.Context) error {
	if err := w.find(ctx); err != nil {
		return err
	}
	for tries := 0; ; tries++ {
		err := w.joinOnce(ctx)
		if err == nil {
			w.next, err = w.k.committed(ctx, w.at, w.Group, w.owned)
		}
		switch {
		case err == nil:
			return nil
		case errors.Is(err, protocol.MemberIDRequired), errors.Is(err, protocol.RebalanceInProgress):
		case errors.Is(err, protocol.UnknownMemberID), tries > 20:
			return err
		default:
			if !pause(ctx, 200*time.Millisecond) {
				return ctx.Err()
			}
			if err := w.find(ctx); err != nil {
				return err
			}
		}
	}
}

func (w *membership) joinOnce(ctx context.Context) error {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Version, req.Group, req.MemberID, req.ProtocolType = 5, w.Group, w.id, "consumer"
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = int32(groupSession.Milliseconds()), int32(groupRebalance.Milliseconds())
	p := kmsg.NewJoinGroupRequestProtocol()
	p.Name, p.Metadata = "deal", []byte(w.Name)
	req.Protocols = append(req.Protocols, p)
	resp, err := w.k.request(ctx, w.at, req)
	if err != nil {
		return err
	}
	r := resp.(*kmsg.JoinGroupResponse)
	if r.MemberID != "" {
		w.id = r.MemberID
	}
	if r.ErrorCode != 0 {
		return protocol.Error(r.ErrorCode)
	}
	w.generation = r.Generation
	sync := kmsg.NewPtrSyncGroupRequest()
	sync.Version, sync.Group, sync.MemberID, sync.Generation = 3, w.Group, w.id, w.generation
	if r.LeaderID == w.id {
		sync.GroupAssignment = deal(r.Members, w.Topics)
	}
	if resp, err = w.k.request(ctx, w.at, sync); err != nil {
		return err
	}
	s := resp.(*kmsg.SyncGroupResponse)
	if s.ErrorCode != 0 {
		return protocol.Error(s.ErrorCode)
	}
	if w.owned, err = decodeDealt(s.MemberAssignment); err != nil {
		return err
	}
	w.h.owns(w.Group, w.generation, w.id, w.owned)
	return nil
}

// deal gives each member its share of the partitions, in turns.
func deal(members []kmsg.JoinGroupResponseMember, topics []Topic) []kmsg.SyncGroupRequestGroupAssignment {
	out := make([]kmsg.SyncGroupRequestGroupAssignment, len(members))
	slices.SortFunc(members, func(a, b kmsg.JoinGroupResponseMember) int { return strings.Compare(a.MemberID, b.MemberID) })
	for i, m := range members {
		out[i] = kmsg.NewSyncGroupRequestGroupAssignment()
		out[i].MemberID = m.MemberID
	}
	n := 0
	for _, t := range topics {
		for p := range t.Partitions {
			a := &out[n%len(out)]
			a.MemberAssignment = binary.BigEndian.AppendUint32(a.MemberAssignment, uint32(p))
			a.MemberAssignment = append(append(a.MemberAssignment, byte(len(t.Name))), t.Name...)
			n++
		}
	}
	return out
}

func decodeDealt(b []byte) (tps []kafka.TopicPartition, err error) {
	for len(b) > 0 {
		if len(b) < 5 || len(b) < 5+int(b[4]) {
			return nil, errors.New("testcluster: an assignment that nobody made")
		}
		tps = append(tps, kafka.TopicPartition{Topic: string(b[5 : 5+b[4]]), Partition: int32(binary.BigEndian.Uint32(b))})
		b = b[5+b[4]:]
	}
	return tps, nil
}

// committed asks a coordinator for committed offsets; 0 is none.
func (k *client) committed(ctx context.Context, at, group string, tps []kafka.TopicPartition) (map[kafka.TopicPartition]int64, error) {
	out := map[kafka.TopicPartition]int64{}
	if len(tps) == 0 {
		return out, nil
	}
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Version, req.Group, req.RequireStable = 7, group, true
	for _, tp := range tps {
		rt := kmsg.NewOffsetFetchRequestTopic()
		rt.Topic, rt.Partitions = tp.Topic, []int32{tp.Partition}
		req.Topics = append(req.Topics, rt)
	}
	resp, err := k.request(ctx, at, req)
	if err != nil {
		return nil, err
	}
	r := resp.(*kmsg.OffsetFetchResponse)
	if r.ErrorCode != 0 {
		return nil, protocol.Error(r.ErrorCode)
	}
	for _, t := range r.Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode != 0 {
				return nil, protocol.Error(p.ErrorCode)
			}
			out[kafka.TopicPartition{Topic: t.Topic, Partition: p.Partition}] = max(p.Offset, 0)
		}
	}
	if len(out) != len(tps) {
		return nil, fmt.Errorf("testcluster: offsets of %d partitions, and %d were asked for", len(out), len(tps))
	}
	return out, nil
}

// work commits and beats until something ends it.
func (w *membership) work(ctx context.Context, end time.Time) error {
	beat := time.Now()
	for pause(ctx, time.Duration(w.k.rng.Int64N(int64(600*time.Millisecond)))) {
		switch now := time.Now(); {
		case now.After(end) && w.k.rng.IntN(2) == 0:
			return errLife
		case now.After(end): // one that hangs, and does not know that it is out
			end = now.Add(5 * time.Second)
			pause(ctx, time.Duration(w.k.rng.Int64N(int64(2*groupSession))))
		case now.Sub(beat) > groupBeat:
			beat = now
			if err := w.goOn(ctx, w.heartbeat(ctx), true); err != nil {
				return err
			}
		}
		if len(w.owned) == 0 {
			continue
		}
		tp := w.owned[w.k.rng.IntN(len(w.owned))]
		to := w.next[tp] + 1 + w.k.rng.Int64N(5)
		if err := w.goOn(ctx, w.commit(ctx, tp, w.generation, to), false); err != nil {
			return err
		}
		w.next[tp] = to
	}
	return ctx.Err()
}

// goOn finds the coordinator again where an error says no more than that it is
// elsewhere, and the generation may go on there. harmless: the request may still
// arrive, and nobody minds.
func (w *membership) goOn(ctx context.Context, err error, harmless bool) error {
	var code protocol.Error
	answer := errors.As(err, &code)
	switch {
	case err == nil:
		return nil
	case answer && code != protocol.NotCoordinator && code != protocol.CoordinatorLoadInProgress && code != protocol.CoordinatorNotAvailable,
		!answer && !harmless && !errors.Is(err, errNotSent):
		return err
	}
	pause(ctx, 200*time.Millisecond)
	return w.find(ctx)
}

// commit commits an offset. Where no answer comes nobody knows whether it was
// stored, or will be: the request may still arrive. Then the life must end, since a
// later commit of the same generation might be overtaken.
func (w *membership) commit(ctx context.Context, tp kafka.TopicPartition, generation int32, to int64) error {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Version, req.Group, req.Generation, req.MemberID = 7, w.Group, generation, w.id
	rt := kmsg.NewOffsetCommitRequestTopic()
	rt.Topic = tp.Topic
	rp := kmsg.NewOffsetCommitRequestTopicPartition()
	rp.Partition, rp.Offset = tp.Partition, to
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	asked := w.h.committing(w.Group, tp, to)
	resp, err := w.k.request(ctx, w.at, req)
	if err != nil {
		return err
	}
	if code := resp.(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode; code != 0 {
		return protocol.Error(code)
	}
	w.h.committed(w.Group, w.id, generation, tp, to, asked)
	return nil
}

// commitStale commits in an earlier generation, which must be refused: the history
// looks at what is acknowledged.
func (w *membership) commitStale(ctx context.Context) error {
	if len(w.Topics) == 0 {
		return nil
	}
	t := w.Topics[w.k.rng.IntN(len(w.Topics))]
	tp := kafka.TopicPartition{Topic: t.Name, Partition: w.k.rng.Int32N(t.Partitions)}
	err := w.commit(ctx, tp, w.before, 1)
	var code protocol.Error
	if errors.As(err, &code) {
		w.h.note(w.Name, "of %s: a commit of generation %d in %d is refused: %v", w.Group, w.before, w.generation, code)
		return nil
	}
	return err
}

func (w *membership) heartbeat(ctx context.Context) error {
	req := kmsg.NewPtrHeartbeatRequest()
	req.Version, req.Group, req.Generation, req.MemberID = 3, w.Group, w.generation, w.id
	resp, err := w.k.request(ctx, w.at, req)
	if err != nil {
		return err
	}
	if code := resp.(*kmsg.HeartbeatResponse).ErrorCode; code != 0 {
		return protocol.Error(code)
	}
	return nil
}

func (w *membership) leave(ctx context.Context) error {
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Version, req.Group = 3, w.Group
	rm := kmsg.NewLeaveGroupRequestMember()
	rm.MemberID = w.id
	req.Members = append(req.Members, rm)
	resp, err := w.k.request(ctx, w.at, req)
	if err != nil {
		return err
	}
	if code := resp.(*kmsg.LeaveGroupResponse).ErrorCode; code != 0 {
		return protocol.Error(code)
	}
	return nil
}
