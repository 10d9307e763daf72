package api

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/broker/replica"
	"barnabas/internal/kafka"
	"barnabas/log"
	"barnabas/protocol"
)

// A client knows of epoch 1 of partition 0 (KIP-320) before this broker does, which
// leads it in epoch 0.
const newerEpoch = 1

// patient brokers wait for what they have not read of until the test gives it to them.
func patient(m **replica.Manager, wait time.Duration) func(*Options) {
	return func(o *Options) {
		o.NewerWait, o.Offsets = wait, o.Replicas.(*replica.Manager)
		*m = o.Replicas.(*replica.Manager)
	}
}

// leadNewer is the change log's telling this broker of epoch 1.
func leadNewer(t *testing.T, m *replica.Manager) {
	t.Helper()
	err := m.Become(kafka.TopicPartition{Topic: "a"}, replica.State{
		TopicID: idA, Replicas: []kafka.BrokerID{1, 2}, ISR: []kafka.BrokerID{1, 2}, Leader: 1, LeaderEpoch: newerEpoch, PartitionEpoch: 1, Zxid: 9, Created: 7, MinISR: 1,
	}, log.DefaultOptions())
	if err != nil {
		t.Error(err)
	}
}

func newerPartition() kmsg.FetchRequestTopic {
	top := kmsg.NewFetchRequestTopic()
	top.Topic, top.TopicID = "a", idA
	p := kmsg.NewFetchRequestTopicPartition()
	p.CurrentLeaderEpoch, p.LastFetchedEpoch, p.PartitionMaxBytes = newerEpoch, -1, 1<<20
	top.Partitions = append(top.Partitions, p)
	return top
}

// namesNewer are requests that name epoch 1 of a-0, and what their answers say of it.
func namesNewer(t *testing.T, b *broker) map[string]func(c *client) (req kmsg.Request, answer func() protocol.Error) {
	fetch := func(c *client, req *kmsg.FetchRequest) (kmsg.Request, func() protocol.Error) {
		return req, func() protocol.Error {
			t.Helper()
			resp := receive[*kmsg.FetchResponse](c, req)
			if resp.ErrorCode == 0 && len(resp.Topics) == 0 && resp.SessionID != 0 {
				return protocol.None // nothing is new in the session
			}
			if resp.ErrorCode != 0 || len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
				t.Fatalf("%+v", resp)
			}
			return protocol.Error(resp.Topics[0].Partitions[0].ErrorCode)
		}
	}
	full := func(version int16, maxWait, minBytes int32) func(c *client) (kmsg.Request, func() protocol.Error) {
		return func(c *client) (kmsg.Request, func() protocol.Error) {
			req := fetchRequest(version, maxWait, toFetch{"a", idA, 0, 0})
			req.MinBytes = minBytes
			req.Topics[0].Partitions[0].CurrentLeaderEpoch = newerEpoch
			return fetch(c, req)
		}
	}
	inSession := func(follower bool) func(c *client) (kmsg.Request, func() protocol.Error) {
		return func(c *client) (kmsg.Request, func() protocol.Error) {
			r := newReader(b, follower, 3)
			*c = *r.c
			r.req.SessionID, r.req.SessionEpoch, r.req.MaxWaitMillis = r.session, r.epoch, 3_600_000
			r.req.Topics = []kmsg.FetchRequestTopic{newerPartition()}
			return fetch(c, r.req)
		}
	}
	return map[string]func(c *client) (kmsg.Request, func() protocol.Error){
		"Fetch":                         full(17, 3_600_000, 1),
		"Fetch by name":                 full(12, 3_600_000, 1),
		"Fetch that would not wait":     full(17, 0, 1),
		"Fetch that wants no bytes":     full(17, 0, 0),
		"Fetch in a session":            inSession(false),
		"Fetch of a follower's session": inSession(true),
		"ListOffsets": func(c *client) (kmsg.Request, func() protocol.Error) {
			req := kmsg.NewPtrListOffsetsRequest()
			req.SetVersion(7)
			top := kmsg.NewListOffsetsRequestTopic()
			top.Topic = "a"
			p := kmsg.NewListOffsetsRequestTopicPartition()
			p.CurrentLeaderEpoch, p.Timestamp = newerEpoch, replica.EarliestTimestamp
			top.Partitions = append(top.Partitions, p)
			req.Topics = append(req.Topics, top)
			return req, func() protocol.Error {
				t.Helper()
				return protocol.Error(receive[*kmsg.ListOffsetsResponse](c, req).Topics[0].Partitions[0].ErrorCode)
			}
		},
		"OffsetForLeaderEpoch": func(c *client) (kmsg.Request, func() protocol.Error) {
			req := kmsg.NewPtrOffsetForLeaderEpochRequest()
			req.SetVersion(4)
			req.ReplicaID = -1
			top := kmsg.NewOffsetForLeaderEpochRequestTopic()
			top.Topic = "a"
			p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
			p.CurrentLeaderEpoch, p.LeaderEpoch = newerEpoch, 0
			top.Partitions = append(top.Partitions, p, p) // named twice
			req.Topics = append(req.Topics, top)
			return req, func() protocol.Error {
				t.Helper()
				return protocol.Error(receive[*kmsg.OffsetForLeaderEpochResponse](c, req).Topics[0].Partitions[0].ErrorCode)
			}
		},
	}
}

// TestNewerEpochIsWaitedFor: a request is answered when the broker has come to the
// leadership that it names, whatever it would wait for otherwise.
func TestNewerEpochIsWaitedFor(t *testing.T) {
	b, _ := manyPartitions(t, 1)
	for name := range namesNewer(t, b) {
		t.Run(name, func(t *testing.T) {
			var m *replica.Manager
			b, _ := manyPartitions(t, 3, patient(&m, time.Hour))
			c := b.dial()
			req, answer := namesNewer(t, b)[name](c)
			c.send(req)
			await(t, func() bool { return m.Fetches().Len() == 1 })
			leadNewer(t, m)
			if err := answer(); err != protocol.None {
				t.Errorf("answered with %v", err)
			}
		})
	}
}

// TestNewerEpochIsRefused: a leadership that does not come is refused, after a moment
// and no sooner.
func TestNewerEpochIsRefused(t *testing.T) {
	var m *replica.Manager
	b, _ := manyPartitions(t, 3, patient(&m, 0))
	for name, ask := range namesNewer(t, b) {
		t.Run(name, func(t *testing.T) {
			c := b.dial()
			req, answer := ask(c)
			began := time.Now()
			c.send(req)
			if err := answer(); err != protocol.UnknownLeaderEpoch {
				t.Errorf("answered with %v", err)
			}
			if took := time.Since(began); took < 100*time.Millisecond {
				t.Errorf("refused after %v", took)
			}
		})
	}
}

// TestNewerEpochHoldsNothingBack: what other partitions have is not kept from a client
// that waits for a leadership: neither what was there nor what comes.
func TestNewerEpochHoldsNothingBack(t *testing.T) {
	for name, session := range map[string]bool{"full request": false, "session": true} {
		t.Run(name, func(t *testing.T) {
			var m *replica.Manager
			b, _ := manyPartitions(t, 2, patient(&m, time.Hour))
			appendTo := func() {
				t.Helper()
				if _, err := m.Append(kafka.TopicPartition{Topic: "a", Partition: 1}, records(t, 100, plain()), 1, log.Client); err != nil {
					t.Fatal(err)
				}
			}
			r := newReader(b, true, 2)
			ask := func() {
				t.Helper()
				r.req.SessionID, r.req.SessionEpoch, r.req.MaxWaitMillis = 0, -1, 3_600_000
				if session {
					r.req.SessionID, r.req.SessionEpoch = r.session, r.epoch
					r.epoch++
				}
				r.req.Topics = []kmsg.FetchRequestTopic{newerPartition()}
				p := kmsg.NewFetchRequestTopicPartition()
				p.Partition, p.FetchOffset, p.LastFetchedEpoch, p.PartitionMaxBytes = 1, r.at[1], -1, 1<<20
				r.req.Topics[0].Partitions = append(r.req.Topics[0].Partitions, p)
				r.c.inTime()
				r.c.send(r.req)
			}
			answered := func() {
				t.Helper()
				parts := map[int32]kmsg.FetchResponseTopicPartition{}
				for _, p := range receive[*kmsg.FetchResponse](r.c, r.req).Topics[0].Partitions {
					parts[p.Partition] = p
				}
				if len(parts[1].RecordBatches) == 0 || protocol.Error(parts[0].ErrorCode) != protocol.UnknownLeaderEpoch {
					t.Fatalf("%+v", parts)
				}
				r.at[1]++
			}
			ask()
			await(t, func() bool { return m.Fetches().Len() == 1 })
			appendTo()
			answered()
			appendTo()
			ask()
			answered()
		})
	}
}

// TestNewReplicaIsWaitedFor: so does the fetch of a replica of which the leader has not
// heard yet.
func TestNewReplicaIsWaitedFor(t *testing.T) {
	var m *replica.Manager
	b, _ := manyPartitions(t, 1, patient(&m, time.Hour))
	c := b.dial()
	req := fetchRequest(17, 3_600_000, toFetch{"a", idA, 0, 0})
	req.ReplicaState.ID, req.ReplicaState.Epoch = 3, 5
	req.Topics[0].Partitions[0].CurrentLeaderEpoch = 0
	c.send(req)
	await(t, func() bool { return m.Fetches().Len() == 1 })
	err := m.Become(kafka.TopicPartition{Topic: "a"}, replica.State{
		TopicID: idA, Replicas: []kafka.BrokerID{1, 2, 3}, Adding: []kafka.BrokerID{3}, ISR: []kafka.BrokerID{1, 2}, Leader: 1, PartitionEpoch: 1, Zxid: 9, Created: 7, MinISR: 1,
	}, log.DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	if err := protocol.Error(receive[*kmsg.FetchResponse](c, req).Topics[0].Partitions[0].ErrorCode); err != protocol.None {
		t.Errorf("answered with %v", err)
	}
}

// TestNewerEpochsAreBounded: a client that names epochs without an end has as many
// requests parked as of any other, and each ends.
func TestNewerEpochsAreBounded(t *testing.T) {
	var m *replica.Manager
	b, _ := manyPartitions(t, 1, patient(&m, time.Hour))
	c := b.dial()
	req := fetchRequest(17, 0, toFetch{"a", idA, 0, 0})
	req.Topics[0].Partitions[0].CurrentLeaderEpoch = 1<<31 - 1
	for range 100 {
		c.send(req)
	}
	await(t, func() bool { return m.Fetches().Len() == 32 })
	if err := b.dial().list(); err != protocol.None {
		t.Errorf("another client is answered with %v", err)
	}
	if n := m.Fetches().Len(); n != 32 {
		t.Errorf("%d requests are parked", n)
	}
	m.Fetches().Close() // as if their time were over, from now on
	for range 100 {
		if err := protocol.Error(receive[*kmsg.FetchResponse](c, req).Topics[0].Partitions[0].ErrorCode); err != protocol.UnknownLeaderEpoch {
			t.Fatalf("answered with %v", err)
		}
	}
	if n := m.Fetches().Len(); n != 0 {
		t.Errorf("%d requests are parked in the end", n)
	}
}

// list asks for an offset of a-0 without an epoch.
func (c *client) list() protocol.Error {
	req := kmsg.NewPtrListOffsetsRequest()
	req.SetVersion(7)
	top := kmsg.NewListOffsetsRequestTopic()
	top.Topic = "a"
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.CurrentLeaderEpoch, p.Timestamp = -1, replica.EarliestTimestamp
	top.Partitions = append(top.Partitions, p)
	req.Topics = append(req.Topics, top)
	return protocol.Error(call[*kmsg.ListOffsetsResponse](c, req).Topics[0].Partitions[0].ErrorCode)
}
