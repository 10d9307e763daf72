package tools

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/internal/kafka"
)

// replicaOf is a partition on a broker.
type replicaOf struct {
	tp     kafka.TopicPartition
	broker int32
}

func (m replicaOf) String() string { return fmt.Sprintf("%s-%d", m.tp, m.broker) }

// dirMoves are the replicas that are to be in a directory that is named.
func dirMoves(wanted []wantedPartition) map[replicaOf]string {
	out := map[replicaOf]string{}
	for i := range wanted {
		w := &wanted[i]
		for j, dir := range w.LogDirs {
			if dir != anyDir {
				out[replicaOf{w.tp(), w.Replicas[j]}] = dir
			}
		}
	}
	return out
}

func sortedReplicas[T any](of map[replicaOf]T) []replicaOf {
	return slices.SortedFunc(maps.Keys(of), func(a, b replicaOf) int {
		return cmp.Or(cmp.Compare(a.broker, b.broker), strings.Compare(a.tp.Topic, b.tp.Topic), cmp.Compare(a.tp.Partition, b.tp.Partition))
	})
}

// moveDirs asks for moves between log directories. A replica that only comes to
// its broker now can't be asked for until it is there, so it tries for a time.
func (r *reassigner) moveDirs(ctx context.Context, moves map[replicaOf]string) error {
	pending := maps.Clone(moves)
	end := time.Now().Add(time.Duration(r.f.timeout) * time.Millisecond)
	for len(pending) > 0 {
		var last error
		for _, m := range sortedReplicas(pending) {
			switch err := r.moveDir(ctx, m, pending[m]); {
			case err == nil:
				r.printf("Successfully started moving log directory to %s for replica %s-%d with broker %d \n", pending[m], m.tp.Topic, m.tp.Partition, m.broker)
				delete(pending, m)
			case ctx.Err() != nil:
				return ctx.Err()
			default:
				last = err
			}
		}
		if len(pending) == 0 {
			return nil
		}
		if time.Now().After(end) {
			var names []string
			for _, m := range sortedReplicas(pending) {
				names = append(names, m.String())
			}
			return fmt.Errorf("Timed out before log directory move%s could be started for: %s (%w)", plural(len(names)), strings.Join(names, ","), last) //nolint:staticcheck // Kafka's words
		}
		sleep(ctx, 100*time.Millisecond)
	}
	return nil
}

func (r *reassigner) moveDir(ctx context.Context, m replicaOf, dir string) error {
	req := kmsg.NewPtrAlterReplicaLogDirsRequest()
	d := kmsg.NewAlterReplicaLogDirsRequestDir()
	d.Dir = dir
	t := kmsg.NewAlterReplicaLogDirsRequestDirTopic()
	t.Topic, t.Partitions = m.tp.Topic, []int32{m.tp.Partition}
	d.Topics = append(d.Topics, t)
	req.Dirs = append(req.Dirs, d)
	kresp, err := r.cl.Broker(int(m.broker)).RetriableRequest(ctx, req)
	if err != nil {
		return explain(err)
	}
	for _, t := range kresp.(*kmsg.AlterReplicaLogDirsResponse).Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return explain(err)
			}
		}
	}
	return nil
}

// dirState is where a replica is and where it is being copied to; "" is nowhere.
type dirState struct{ current, future string }

// dirStates asks brokers for the directories of replicas. Those of brokers that
// do not run are nowhere.
func (r *reassigner) dirStates(ctx context.Context, moves map[replicaOf]string) (map[replicaOf]dirState, error) {
	out := map[replicaOf]dirState{}
	live, err := r.brokers(ctx)
	if err != nil {
		return nil, explain(err)
	}
	asked := map[int32][]logDirsPath{}
	for m := range moves {
		if _, done := asked[m.broker]; !done && slices.Contains(live.NodeIDs(), m.broker) {
			if asked[m.broker], err = describeLogDirs(ctx, r.cl.Broker(int(m.broker)), nil); err != nil {
				return nil, fmt.Errorf("broker %d: %w", m.broker, err)
			}
		}
		var s dirState
		for _, d := range asked[m.broker] {
			for _, p := range d.Partitions {
				switch {
				case p.Partition != m.tp.String():
				case p.IsFuture:
					s.future = d.LogDir
				default:
					s.current = d.LogDir
				}
			}
		}
		out[m] = s
	}
	return out, nil
}

// verifyDirs prints how far moves between directories are, and whether any runs.
func (r *reassigner) verifyDirs(ctx context.Context, wanted []wantedPartition) (running bool, err error) {
	moves := dirMoves(wanted)
	states, err := r.dirStates(ctx, moves)
	if err != nil {
		return false, err
	}
	for _, m := range sortedReplicas(states) {
		s, dir := states[m], moves[m]
		running = running || s.future != ""
		switch {
		case s.current == "":
			r.printf("Partition %s cannot be found in any live log directory on broker %d.\n", m.tp, m.broker)
		case s.future == dir:
			r.printf("Reassignment of replica %s is still in progress.\n", m)
		case s.future != "":
			r.printf("Partition %s on broker %d is being moved to log dir %s instead of %s.\n", m.tp, m.broker, s.future, dir)
		case s.current != dir:
			r.printf("Partition %s on broker %d is not being moved from log dir %s to %s.\n", m.tp, m.broker, s.current, dir)
		default:
			r.printf("Reassignment of replica %s completed successfully.\n", m)
		}
	}
	if len(moves) == 0 {
		r.printf("\n") // as Kafka's tool
	}
	return running, nil
}
