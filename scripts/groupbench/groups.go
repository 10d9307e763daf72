package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"
)

// callTimeout is for one request; a broker that needs longer has failed.
const callTimeout = 60 * time.Second

// commitRequest commits one offset for the first partitions of the topic, as a
// simple consumer.
func commitRequest(group string, partitions int, offset int64) *kmsg.OffsetCommitRequest {
	r := kmsg.NewPtrOffsetCommitRequest()
	r.Group, r.Generation = group, -1
	t := kmsg.NewOffsetCommitRequestTopic()
	t.Topic = dataTopic
	for i := range partitions {
		p := kmsg.NewOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset, p.LeaderEpoch = int32(i), offset, -1
		t.Partitions = append(t.Partitions, p)
	}
	r.Topics = append(r.Topics, t)
	return r
}

func commit(w *wire, group string, partitions int, offset int64) error {
	resp, err := w.call(commitRequest(group, partitions, offset), 7, callTimeout)
	if err != nil {
		return err
	}
	for _, t := range resp.(*kmsg.OffsetCommitResponse).Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return fmt.Errorf("commit of %s: %w", group, err)
			}
		}
	}
	return nil
}

// fill stores offsets of many groups, some at a time.
func (b *bench) fill(s *side) error {
	var g errgroup.Group
	const lanes = 4
	for lane := range lanes {
		g.Go(func() error {
			w, err := dial(s.addr)
			if err != nil {
				return err
			}
			defer w.Close()
			for i := lane; i < b.groups; i += lanes {
				if err := commit(w, fillGroup(i), dataPartitions, int64(i)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

func fillGroup(i int) string { return "groupbench-fill-" + strconv.Itoa(i) }

// commits measures offset commits of many committers, each with a group and a
// connection of its own, one commit after the other.
func (b *bench) commits(s *side, _ int) ([]figure, error) {
	took := make([][]time.Duration, b.committers)
	var g errgroup.Group
	began := time.Now()
	for i := range took {
		g.Go(func() error {
			w, err := dial(s.addr)
			if err != nil {
				return err
			}
			defer w.Close()
			for n := range b.commitsEach {
				start := time.Now()
				if err := commit(w, "groupbench-commit-"+strconv.Itoa(i), 1, int64(n)); err != nil {
					return err
				}
				took[i] = append(took[i], time.Since(start))
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	all := time.Since(began)
	name := fmt.Sprintf("offset commits, %d committers", b.committers)
	var each []float64
	for _, t := range took {
		for _, d := range t {
			each = append(each, ms(d))
		}
	}
	return []figure{
		{name, "commits/s", float64(len(each)) / all.Seconds(), more},
		{name, "p50 ms", quantile(each, 0.5), less},
		{name, "p99 ms", quantile(each, 0.99), less},
	}, nil
}

// member is one of a group that joins again and again.
type member struct {
	w          *wire
	group      string
	id         string
	generation int32 // the last that it has an assignment of
}

func (m *member) join(metadata []byte) (*kmsg.JoinGroupResponse, error) {
	r := kmsg.NewPtrJoinGroupRequest()
	r.Group, r.MemberID, r.ProtocolType = m.group, m.id, "consumer"
	r.SessionTimeoutMillis, r.RebalanceTimeoutMillis = 60_000, 60_000
	r.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: metadata}}
	resp, err := m.w.call(r, 7, callTimeout)
	if err != nil {
		return nil, err
	}
	return resp.(*kmsg.JoinGroupResponse), nil
}

// rejoin joins until it has an assignment; the leader assigns 60 bytes to each. It gives
// how many the leader has assigned to, 0 to others.
func (m *member) rejoin(metadata []byte) (assigned int, err error) {
	for {
		j, err := m.join(metadata)
		if err != nil {
			return 0, err
		}
		switch err := kerr.ErrorForCode(j.ErrorCode); {
		case errors.Is(err, kerr.RebalanceInProgress):
			continue
		case err != nil:
			return 0, fmt.Errorf("join: %w", err)
		}
		r := kmsg.NewPtrSyncGroupRequest()
		r.Group, r.MemberID, r.Generation = m.group, m.id, j.Generation
		for _, of := range j.Members {
			r.GroupAssignment = append(r.GroupAssignment, kmsg.SyncGroupRequestGroupAssignment{MemberID: of.MemberID, MemberAssignment: make([]byte, 60)})
		}
		resp, err := m.w.call(r, 3, callTimeout)
		if err != nil {
			return 0, err
		}
		switch err := kerr.ErrorForCode(resp.(*kmsg.SyncGroupResponse).ErrorCode); {
		case err == nil:
			m.generation = j.Generation
			return len(j.Members), nil
		case !errors.Is(err, kerr.RebalanceInProgress):
			return 0, fmt.Errorf("sync: %w", err)
		}
	}
}

// together lets members join until all are in one generation: without a delay the
// first may have one for itself, and has to join again.
func together(members []*member, metadata []byte) error {
	var all atomic.Int32 // the generation that has all members
	var g errgroup.Group
	for _, m := range members {
		g.Go(func() error {
			for {
				n, err := m.rejoin(metadata)
				if err != nil {
					return err
				}
				if n == len(members) {
					all.Store(m.generation)
				}
				for moved := false; !moved; {
					if all.Load() == m.generation {
						return nil
					}
					time.Sleep(5 * time.Millisecond)
					if moved, err = m.rebalances(); err != nil {
						return err
					}
				}
			}
		})
	}
	return g.Wait()
}

// rebalances reports whether the group wants the member to join again.
func (m *member) rebalances() (bool, error) {
	r := kmsg.NewPtrHeartbeatRequest()
	r.Group, r.MemberID, r.Generation = m.group, m.id, m.generation
	resp, err := m.w.call(r, 3, callTimeout)
	if err != nil {
		return false, err
	}
	switch err := kerr.ErrorForCode(resp.(*kmsg.HeartbeatResponse).ErrorCode); {
	case err == nil:
		return false, nil
	case errors.Is(err, kerr.RebalanceInProgress):
		return true, nil
	default:
		return false, fmt.Errorf("heartbeat: %w", err)
	}
}

// rebalance measures how long all members of a group need, who join again at
// once, until the last has its assignment.
func (b *bench) rebalance(s *side, round int) ([]figure, error) {
	members := make([]*member, b.members)
	subscription := kmsg.NewConsumerMemberMetadata()
	subscription.Topics = []string{dataTopic}
	group := fmt.Sprintf("groupbench-rebalance-%d-%d", round, time.Now().UnixNano())
	for i := range members {
		w, err := dial(s.addr)
		if err != nil {
			return nil, err
		}
		defer w.Close()
		members[i] = &member{w: w, group: group}
		j, err := members[i].join(subscription.AppendTo(nil)) // MEMBER_ID_REQUIRED
		if err != nil {
			return nil, err
		}
		members[i].id = j.MemberID
	}
	if err := together(members, subscription.AppendTo(nil)); err != nil {
		return nil, err
	}
	var took []float64
	for i := range b.rebalances {
		subscription.UserData = []byte(strconv.Itoa(i)) // news, so that it is a rebalance
		metadata := subscription.AppendTo(nil)
		began := time.Now()
		var g errgroup.Group
		for _, m := range members {
			g.Go(func() error {
				_, err := m.rejoin(metadata)
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return nil, err
		}
		took = append(took, ms(time.Since(began)))
	}
	l := kmsg.NewPtrLeaveGroupRequest()
	l.Group = group
	for _, m := range members {
		l.Members = append(l.Members, kmsg.LeaveGroupRequestMember{MemberID: m.id})
	}
	if _, err := members[0].w.call(l, 4, callTimeout); err != nil {
		return nil, err
	}
	name := fmt.Sprintf("rebalance of %d members", b.members)
	return []figure{{name, "p50 ms", quantile(took, 0.5), less}, {name, "p99 ms", quantile(took, 0.99), less}}, nil
}

// firstRecord measures a new consumer, from making the client until it has a
// record: it finds the coordinator, joins a group of its own and fetches.
func (b *bench) firstRecord(s *side, _ int) ([]figure, error) {
	var took []float64
	for range b.joins {
		began := time.Now()
		cl, err := kgo.NewClient(kgo.SeedBrokers(s.addr), kgo.ConsumerGroup(fmt.Sprintf("groupbench-first-%d", began.UnixNano())),
			kgo.ConsumeTopics(dataTopic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.Balancers(kgo.RangeBalancer()), kgo.DisableAutoCommit())
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		f := cl.PollFetches(ctx)
		for f.NumRecords() == 0 && ctx.Err() == nil {
			f = cl.PollFetches(ctx)
		}
		took = append(took, ms(time.Since(began)))
		err = ctx.Err()
		cancel()
		cl.Close()
		if err != nil {
			return nil, fmt.Errorf("no first record: %w", err)
		}
	}
	const name = "new member to its first record"
	return []figure{{name, "p50 ms", quantile(took, 0.5), less}, {name, "p99 ms", quantile(took, 0.99), less}}, nil
}
