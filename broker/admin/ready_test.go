package admin

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// imageOf has brokers 1 to 3 and a topic of three partitions, each led by one.
func imageOf() *cluster.Image {
	e := cluster.NewEdit(cluster.Empty())
	id := kafka.TopicID{1}
	assignment := map[int32]cluster.Assignment{}
	for b := kafka.BrokerID(1); b <= 3; b++ {
		e.ReadBroker(&cluster.Broker{ID: b, Epoch: kafka.BrokerEpoch(b), Zxid: int64(b), Told: int64(b)})
		assignment[int32(b)-1] = cluster.Assignment{Replicas: []kafka.BrokerID{b}}
	}
	e.ReadTopic(cluster.TopicRead{Name: "t", ID: id, Zxid: 10, Assignment: assignment})
	for p := range int32(3) {
		leader := kafka.BrokerID(p + 1)
		e.ReadState(kafka.TopicPartition{Topic: "t", Partition: p}, cluster.EntryState{Partition: p, Leader: leader, LeaderEpoch: 7, ISR: []kafka.BrokerID{leader}}, 11, 11)
	}
	im, _ := e.Publish()
	return im
}

// Who made a topic is answered when the leaders serve, wherever they are; one that
// does not answer, can't serve, or hangs holds that up for a second at most.
func TestTopicsAreAnsweredWhenTheirLeadersServe(t *testing.T) {
	const never = time.Hour
	for name, c := range map[string]struct {
		ready map[kafka.BrokerID]time.Duration // when it has read of the topic
		fail  error                            // what broker 3 says then
		limit time.Duration
		want  time.Duration // about
		err   error
	}{
		"at once":                     {limit: time.Minute},
		"the others are behind":       {ready: map[kafka.BrokerID]time.Duration{2: 200 * time.Millisecond, 3: 100 * time.Millisecond}, limit: time.Minute, want: 200 * time.Millisecond},
		"one hangs":                   {ready: map[kafka.BrokerID]time.Duration{2: never}, limit: time.Minute, want: time.Second},
		"one is gone":                 {fail: context.DeadlineExceeded, limit: time.Minute},
		"one has no disk":             {fail: protocol.KafkaStorageError, limit: time.Minute},
		"the client's time is over":   {ready: map[kafka.BrokerID]time.Duration{2: never}, limit: 300 * time.Millisecond, want: 300 * time.Millisecond, err: context.DeadlineExceeded},
		"one is behind, another gone": {ready: map[kafka.BrokerID]time.Duration{2: 50 * time.Millisecond}, fail: context.DeadlineExceeded, limit: time.Minute, want: 50 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				im, begin := imageOf(), time.Now()
				a := New(t.Context(), Options{
					Self: 1, Image: func() *cluster.Image { return im },
					AwaitImage:   func(context.Context, func(*cluster.Image) bool) error { return nil },
					AwaitLeading: func(context.Context, []kafka.TopicPartition) error { return nil },
					Ends: func(ctx context.Context, id kafka.BrokerID, of []cluster.EndQuestion) ([]cluster.LogEnd, error) {
						if len(of) != 1 || of[0].TP.Partition != int32(id)-1 || of[0].LeaderEpoch != 7 || of[0].TopicID != (kafka.TopicID{1}) {
							t.Errorf("broker %d is asked about %+v", id, of)
						}
						switch {
						case time.Since(begin) < c.ready[id]:
							return []cluster.LogEnd{{Err: protocol.UnknownTopicOrPartition}}, nil
						case id == 3 && errors.Is(c.fail, context.DeadlineExceeded):
							return nil, c.fail
						case id == 3:
							return []cluster.LogEnd{{Err: c.fail}}, nil
						}
						return []cluster.LogEnd{{}}, nil
					},
				})
				ctx, cancel := context.WithTimeout(t.Context(), c.limit)
				defer cancel()
				err := a.awaitTopics(ctx, []string{"t"})
				if took := time.Since(begin); took < c.want || took > c.want+longestAsk || !errors.Is(err, c.err) {
					t.Errorf("answered after %v with %v, want %v and %v", took, err, c.want, c.err)
				}
			})
		})
	}
}
