package api

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/broker/replica"
	"barnabas/internal/kafka"
	"barnabas/protocol"
)

func await(t *testing.T, cond func() bool) {
	t.Helper()
	deadline, tick := time.NewTimer(time.Minute), time.NewTicker(time.Millisecond)
	defer deadline.Stop()
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatal("waited in vain")
		}
	}
}

type toFetch struct {
	topic     string
	id        kafka.TopicID
	partition int32
	offset    int64
}

func fetchRequest(version int16, wait int32, parts ...toFetch) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.SetVersion(version)
	req.ReplicaID, req.MaxWaitMillis, req.MinBytes, req.MaxBytes = -1, wait, 1, 1<<20
	req.SessionEpoch = -1
	for _, p := range parts {
		t := kmsg.NewFetchRequestTopic()
		t.Topic, t.TopicID = p.topic, p.id
		fp := kmsg.NewFetchRequestTopicPartition()
		fp.Partition, fp.FetchOffset, fp.PartitionMaxBytes = p.partition, p.offset, 1<<20
		fp.CurrentLeaderEpoch = -1
		t.Partitions = append(t.Partitions, fp)
		req.Topics = append(req.Topics, t)
	}
	return req
}

func (b *broker) produce(topic string, partition int32, sizes ...int) {
	b.t.Helper()
	for _, n := range sizes {
		if _, err := b.rep.Append(kafka.TopicPartition{Topic: topic, Partition: partition}, records(b.t, n, plain()), 1, 0); err != nil {
			b.t.Fatal(err)
		}
	}
}

func TestFetchVersions(t *testing.T) {
	b := newBroker(t)
	b.produce("a", 0, 100, 30_000, 50)
	b.produce("a", 1, 100)
	for version := int16(4); version <= 17; version++ {
		resp := call[*kmsg.FetchResponse](b.dial(), fetchRequest(version, 0, toFetch{"a", idA, 0, 0}, toFetch{"a", idA, 1, 0}, toFetch{"a", idA, 1, 1}, toFetch{"zz", kafka.TopicID{1}, 0, 0}))
		if len(resp.Topics) != 2 || len(resp.Topics[0].Partitions) != 2 {
			t.Fatalf("version %d: %+v", version, resp)
		}
		p := resp.Topics[0].Partitions
		if p[0].HighWatermark != 3 || len(p[0].RecordBatches) < 30_150 || p[0].AbortedTransactions != nil || p[0].ErrorCode != 0 {
			t.Errorf("version %d: %d bytes, %+v", version, len(p[0].RecordBatches), p[0])
		}
		if len(p[1].RecordBatches) != 0 { // named twice, the last word counts
			t.Errorf("version %d: a-1 has %d bytes", version, len(p[1].RecordBatches))
		}
		u := resp.Topics[1].Partitions[0]
		want := protocol.UnknownTopicOrPartition
		if version >= 13 {
			want = protocol.UnknownTopicID
		}
		if protocol.Error(u.ErrorCode) != want || u.AbortedTransactions == nil || u.HighWatermark != -1 {
			t.Errorf("version %d: unknown topic: %+v", version, u)
		}
	}
}

func TestFetchLimits(t *testing.T) {
	b := newBroker(t)
	b.produce("a", 0, 1000, 1000)
	b.produce("a", 1, 1000)
	one := len(records(t, 1000, plain()))
	for _, tc := range []struct {
		name          string
		max, partMax  int32
		first, second int
	}{
		{"wide", 1 << 20, 1 << 20, 2 * one, one},
		{"no room still gives one batch", 0, 1 << 20, one, 0},
		{"small partition limit still gives one batch", 1 << 20, 10, one, 10},
		{"cut within a batch", int32(one + 10), 1 << 20, one + 10, 0},
		{"second gets the rest", int32(2*one + 20), 1 << 20, 2 * one, 20},
	} {
		req := fetchRequest(17, 0, toFetch{"a", idA, 0, 0}, toFetch{"a", idA, 1, 0})
		req.MaxBytes = tc.max
		for i := range req.Topics {
			req.Topics[i].Partitions[0].PartitionMaxBytes = tc.partMax
		}
		p := call[*kmsg.FetchResponse](b.dial(), req).Topics[0].Partitions
		if len(p[0].RecordBatches) != tc.first || len(p[1].RecordBatches) != tc.second {
			t.Errorf("%s: got %d and %d bytes, want %d and %d", tc.name, len(p[0].RecordBatches), len(p[1].RecordBatches), tc.first, tc.second)
		}
	}
}

func TestFetchWaits(t *testing.T) {
	b := newBroker(t)
	c := b.dial()
	req := fetchRequest(17, 60_000, toFetch{"a", idA, 0, 0}, toFetch{"a", idA, 1, 0})
	req.MinBytes = 200
	c.send(req)
	await(t, func() bool { return b.rep.fetches.Len() == 1 })
	b.produce("a", 1, 10) // not enough
	if n := b.rep.fetches.Len(); n != 1 {
		t.Fatalf("%d fetches wait, want 1", n)
	}
	b.produce("a", 0, 100)
	resp := receive[*kmsg.FetchResponse](c, req)
	if n := len(resp.Topics[0].Partitions[0].RecordBatches) + len(resp.Topics[0].Partitions[1].RecordBatches); n < 200 {
		t.Errorf("woken with %d bytes", n)
	}

	req = fetchRequest(17, 20, toFetch{"a", idA, 2, 0}) // nothing comes
	resp = call[*kmsg.FetchResponse](c, req)
	if p := resp.Topics[0].Partitions[0]; len(p.RecordBatches) != 0 || p.ErrorCode != 0 {
		t.Errorf("got %+v", p)
	}

	c.send(fetchRequest(17, 60_000, toFetch{"a", idA, 2, 0}))
	await(t, func() bool { return b.rep.fetches.Len() == 1 })
	c.nc.Close()
	await(t, func() bool { return b.rep.fetches.Len() == 0 })
}

func TestFetchErrors(t *testing.T) {
	b := newBroker(t)
	b.rep.part(kafka.TopicPartition{Topic: "b"}).err = &replica.NotLeaderError{Leader: 2, Epoch: 8}
	b.rep.part(kafka.TopicPartition{Topic: "b", Partition: 1}).err = protocol.KafkaStorageError
	for _, tc := range []struct {
		name    string
		version int16
		part    toFetch
		change  func(*kmsg.FetchRequest)
		want    protocol.Error
		leader  int32
	}{
		{"beyond the end", 17, toFetch{"a", idA, 0, 9}, nil, protocol.OffsetOutOfRange, -1},
		{"moved", 15, toFetch{"b", idB, 0, 0}, nil, protocol.NotLeaderOrFollower, -1},
		{"moved, KIP-951", 16, toFetch{"b", idB, 0, 0}, nil, protocol.NotLeaderOrFollower, 2},
		{"disk", 6, toFetch{"b", idB, 1, 0}, nil, protocol.KafkaStorageError, -1},
		{"disk, for old clients", 5, toFetch{"b", idB, 1, 0}, nil, protocol.NotLeaderOrFollower, -1},
		{"follower that is none", 12, toFetch{"a", idA, 0, 0}, func(r *kmsg.FetchRequest) { r.ReplicaID = 55 }, protocol.NotLeaderOrFollower, -1},
		{"follower that is none", 17, toFetch{"a", idA, 0, 0}, func(r *kmsg.FetchRequest) { r.ReplicaState.ID = 55 }, protocol.NotLeaderOrFollower, 1},
	} {
		req := fetchRequest(tc.version, 60_000, tc.part)
		if tc.change != nil {
			tc.change(req)
		}
		resp := call[*kmsg.FetchResponse](b.dial(), req)
		p := resp.Topics[0].Partitions[0]
		if protocol.Error(p.ErrorCode) != tc.want || p.HighWatermark != -1 || p.LastStableOffset != -1 || len(p.RecordBatches) != 0 || p.AbortedTransactions != nil {
			t.Errorf("%s: got %v, %+v, want %v", tc.name, protocol.Error(p.ErrorCode), p, tc.want)
		}
		if p.CurrentLeader.LeaderID != tc.leader || tc.leader >= 0 && len(resp.Brokers) != 1 {
			t.Errorf("%s: leader %+v, nodes %+v, want %d", tc.name, p.CurrentLeader, resp.Brokers, tc.leader)
		}
	}
	c := b.dial()
	req := fetchRequest(12, 0, toFetch{"a", idA, 0, 0})
	req.ReplicaID = -2
	c.send(req)
	c.closed("a debugging replica")
}

// TestFetchSession_KIP227 is the dialogue of golden/answers/05.
func TestFetchSession_KIP227(t *testing.T) {
	b := newBroker(t)
	b.produce("a", 0, 100)
	c := b.dial()
	step := func(id, epoch int32, version int16, parts ...toFetch) *kmsg.FetchResponse {
		req := fetchRequest(version, 0, parts...)
		req.SessionID, req.SessionEpoch = id, epoch
		return call[*kmsg.FetchResponse](c, req)
	}
	full := step(0, 0, 17, toFetch{"a", idA, 0, 0}, toFetch{"a", idA, 1, 0})
	if full.SessionID == 0 || len(full.Topics[0].Partitions) != 2 {
		t.Fatalf("no session: %+v", full)
	}
	id := full.SessionID
	expect := func(name string, resp *kmsg.FetchResponse, err protocol.Error, session int32, topics int) {
		t.Helper()
		if protocol.Error(resp.ErrorCode) != err || resp.SessionID != session || len(resp.Topics) != topics {
			t.Errorf("%s: got %v, session %d, %d topics, want %v, %d, %d", name, protocol.Error(resp.ErrorCode), resp.SessionID, len(resp.Topics), err, session, topics)
		}
	}
	expect("moved on", step(id, 1, 17, toFetch{"a", idA, 0, 1}), protocol.None, id, 0)
	expect("nothing new", step(id, 2, 17), protocol.None, id, 0)
	for range 10 { // one of a version without sessions closes none
		expect("old client", step(0, 0, 5, toFetch{"a", idA, 0, 0}), protocol.None, 0, 1)
	}
	expect("the same again", step(id, 2, 17), protocol.InvalidFetchSessionEpoch, 0, 0)
	expect("from the future", step(id, 9, 17), protocol.InvalidFetchSessionEpoch, 0, 0)
	expect("unknown id", step(id+1, 3, 17), protocol.FetchSessionIDNotFound, 0, 0)
	expect("by name", step(id, 3, 12), protocol.FetchSessionTopicIDError, 0, 0)
	b.produce("a", 1, 5)
	expect("news", step(id, 3, 17), protocol.None, id, 1)
	expect("closed by a full one", step(id, -1, 17, toFetch{"a", idA, 0, 1}), protocol.None, 0, 1)
	expect("after that", step(id, 4, 17), protocol.FetchSessionIDNotFound, 0, 0)
}
