package tools

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/internal/kafka"
)

// candidate is a partition as an election would find it.
type candidate struct {
	tp                    kafka.TopicPartition
	leader                int32
	replicas, isr, living []int32
}

// replicaEnd is where a replica's log ends.
type replicaEnd struct {
	id, epoch int32
	end       int64
}

// dryElection shows what an election would do.
func (t *tool) dryElection(ctx context.Context, cl *kgo.Client, kind int, tps []kafka.TopicPartition) error {
	all, err := candidates(ctx, cl, tps)
	if err != nil {
		return err
	}
	none := true
	for _, c := range all {
		if kind == 0 && c.leader != c.replicas[0] {
			none = false
			t.dryPreferred(&c)
		}
		if kind == 1 && c.leader < 0 {
			none = false
			ends := replicaEnds(ctx, cl, &c)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			t.dryUnclean(&c, ends)
		}
	}
	if none {
		fmt.Fprintln(t.err, "No partition needs an election.")
	}
	return nil
}

// candidates are the partitions named, or all, by topic and number.
func candidates(ctx context.Context, cl *kgo.Client, tps []kafka.TopicPartition) ([]candidate, error) {
	req := kmsg.NewPtrMetadataRequest()
	req.AllowAutoTopicCreation = false
	for _, tp := range tps {
		if !slices.ContainsFunc(req.Topics, func(t kmsg.MetadataRequestTopic) bool { return *t.Topic == tp.Topic }) {
			t := kmsg.NewMetadataRequestTopic()
			t.Topic = kmsg.StringPtr(tp.Topic)
			req.Topics = append(req.Topics, t)
		}
	}
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return nil, err
	}
	var out []candidate
	for _, mt := range resp.Topics {
		if mt.ErrorCode != 0 {
			return nil, fmt.Errorf("topic %s: %w", *mt.Topic, kafkaError(mt.ErrorCode, nil))
		}
		for _, p := range mt.Partitions {
			c := candidate{tp: kafka.TopicPartition{Topic: *mt.Topic, Partition: p.Partition}, leader: p.Leader, replicas: p.Replicas, isr: p.ISR}
			for _, id := range p.Replicas {
				if !slices.Contains(p.OfflineReplicas, id) {
					c.living = append(c.living, id)
				}
			}
			if len(c.replicas) > 0 && (tps == nil || slices.Contains(tps, c.tp)) {
				out = append(out, c)
			}
		}
	}
	for _, tp := range tps {
		if !slices.ContainsFunc(out, func(c candidate) bool { return c.tp == tp }) {
			return nil, fmt.Errorf("the partition %s does not exist", tp)
		}
	}
	slices.SortFunc(out, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.tp.Topic, b.tp.Topic), cmp.Compare(a.tp.Partition, b.tp.Partition))
	})
	return out, nil
}

func (t *tool) dryPreferred(c *candidate) {
	switch first := c.replicas[0]; {
	case !slices.Contains(c.living, first):
		fmt.Fprintf(t.out, "%s\tstays with %d: broker %d is not there\n", c.tp, c.leader, first)
	case !slices.Contains(c.isr, first):
		fmt.Fprintf(t.out, "%s\tstays with %d: broker %d is not in sync\n", c.tp, c.leader, first)
	default:
		fmt.Fprintf(t.out, "%s\twould go from %d to %d\n", c.tp, c.leader, first)
	}
}

// replicaEnds asks each living replica for the end of its log.
func replicaEnds(ctx context.Context, cl *kgo.Client, c *candidate) []replicaEnd {
	var out []replicaEnd
	for _, id := range c.living {
		const anyReplica, latest = -2, -1
		req := kmsg.NewPtrListOffsetsRequest()
		req.ReplicaID = anyReplica
		rt := kmsg.NewListOffsetsRequestTopic()
		rt.Topic = c.tp.Topic
		rp := kmsg.NewListOffsetsRequestTopicPartition()
		rp.Partition, rp.Timestamp, rp.CurrentLeaderEpoch = c.tp.Partition, latest, -1
		rt.Partitions = append(rt.Partitions, rp)
		req.Topics = append(req.Topics, rt)
		resp, err := req.RequestWith(ctx, cl.Broker(int(id)))
		if err != nil || len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
			continue // not heard of
		}
		if p := resp.Topics[0].Partitions[0]; p.ErrorCode == 0 {
			out = append(out, replicaEnd{id, p.LeaderEpoch, p.Offset})
		}
	}
	// The longest first: the largest epoch, then the largest end; stable, so that
	// the order of replicas decides between equal ones.
	slices.SortStableFunc(out, func(a, b replicaEnd) int { return cmp.Or(cmp.Compare(b.epoch, a.epoch), cmp.Compare(b.end, a.end)) })
	return out
}

func (t *tool) dryUnclean(c *candidate, ends []replicaEnd) {
	if len(ends) == 0 {
		fmt.Fprintf(t.out, "%s\tnobody could lead: none of the replicas %s tells where its log ends\n", c.tp, ids(c.replicas))
		return
	}
	fmt.Fprintf(t.out, "%s\twould be led by %d\tepoch %d\tend %d", c.tp, ends[0].id, ends[0].epoch, ends[0].end)
	for _, e := range ends[1:] {
		fmt.Fprintf(t.out, "\treplica %d: epoch %d, end %d", e.id, e.epoch, e.end)
	}
	var silent []int32
	for _, id := range c.isr {
		if !slices.ContainsFunc(ends, func(e replicaEnd) bool { return e.id == id }) {
			silent = append(silent, id)
		}
	}
	if len(silent) > 0 {
		fmt.Fprintf(t.out, "\tlost: what only %s, in sync, had", ids(silent))
	}
	fmt.Fprintln(t.out)
}
