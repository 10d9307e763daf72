package protocol

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// sameAsKmsg fails unless p is what kmsg decodes.
func sameAsKmsg(t *testing.T, p *ProduceRequest, want *kmsg.ProduceRequest) {
	t.Helper()
	if (p.TransactionalID == nil) != (want.TransactionID == nil) || want.TransactionID != nil && string(p.TransactionalID) != *want.TransactionID {
		t.Errorf("transactional id: got %q, want %v", p.TransactionalID, want.TransactionID)
	}
	if p.Acks != want.Acks || p.TimeoutMs != want.TimeoutMillis || len(p.Topics) != len(want.Topics) {
		t.Fatalf("got acks %d, timeout %d, %d topics, want %+v", p.Acks, p.TimeoutMs, len(p.Topics), want)
	}
	rest := p.Partitions
	for i, topic := range want.Topics {
		if got := p.Topics[i]; string(got.Name) != topic.Topic || got.Count != len(topic.Partitions) {
			t.Fatalf("topic %d: got %+v, want %+v", i, got, topic)
		}
		for j, w := range topic.Partitions {
			g := rest[j]
			if g.Partition != w.Partition || !bytes.Equal(g.Records, w.Records) || (g.Records == nil) != (w.Records == nil) {
				t.Fatalf("topic %d partition %d: got %+v, want %+v", i, j, g, w)
			}
		}
		rest = rest[len(topic.Partitions):]
	}
	if len(rest) != 0 {
		t.Fatalf("%d partitions too many", len(rest))
	}
}

func randomProduce(r *rand.Rand, version int16) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	fill(r, reflect.ValueOf(req).Elem(), 0)
	req.SetVersion(version)
	if version < 3 {
		req.TransactionID = nil
	}
	return req
}

func TestProduceRequestIsWhatKmsgWrites(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	var p ProduceRequest
	for version := range int16(12) {
		for range 200 {
			want := randomProduce(r, version)
			body := want.AppendTo(nil)
			if err := p.Parse(version, body); err != nil {
				t.Fatalf("version %d: %v", version, err)
			}
			again := kmsg.NewPtrProduceRequest() // null and empty, as on the wire
			again.SetVersion(version)
			if err := again.ReadFrom(body); err != nil {
				t.Fatal(err)
			}
			sameAsKmsg(t, &p, again)
			for cut := range body {
				if p.Parse(version, body[:cut]) == nil {
					t.Fatalf("version %d: %d of %d bytes were enough", version, cut, len(body))
				}
			}
		}
	}
}

// FuzzProduceRequest: kmsg agrees with every body that Parse takes, and Parse
// takes what the structural check takes.
func FuzzProduceRequest(f *testing.F) {
	r := rand.New(rand.NewPCG(7, 8))
	for version := range int16(12) {
		f.Add(version, randomProduce(r, version).AppendTo(nil))
	}
	f.Fuzz(func(t *testing.T, version int16, body []byte) {
		if version < 0 || version > 11 {
			return
		}
		var p ProduceRequest
		err := p.Parse(version, body)
		if checked := CheckRequest(KeyProduce, version, body); (err == nil) != (checked == nil) {
			t.Fatalf("Parse: %v, CheckRequest: %v", err, checked)
		}
		if err != nil {
			return
		}
		want := kmsg.NewPtrProduceRequest()
		want.SetVersion(version)
		if err := want.ReadFrom(body); err != nil {
			t.Fatalf("Parse takes it, kmsg: %v", err)
		}
		sameAsKmsg(t, &p, want)
	})
}

func randomName(r *rand.Rand) string { return strings.Repeat("n", 1+r.IntN(300)) }

func TestProduceResponseIsWhatKmsgWrites(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	for version := range int16(12) {
		for range 100 {
			want := kmsg.NewPtrProduceResponse()
			want.SetVersion(version)
			var topics []ProduceTopicResult
			var results []ProduceResult
			for range r.IntN(3) {
				wt := kmsg.NewProduceResponseTopic()
				wt.Topic = randomName(r)
				for range r.IntN(3) {
					res := ProduceResult{
						Partition: r.Int32(), Err: Error(r.IntN(100)), BaseOffset: r.Int64(), LogAppendTime: r.Int64(), LogStartOffset: r.Int64(),
						Leader: NoLeader,
					}
					wp := kmsg.NewProduceResponseTopicPartition()
					wp.Partition, wp.ErrorCode, wp.BaseOffset = res.Partition, res.Err.Code(), res.BaseOffset
					wp.LogAppendTime, wp.LogStartOffset = res.LogAppendTime, res.LogStartOffset
					if r.IntN(3) == 0 {
						res.Message = randomName(r)
						wp.ErrorMessage = &res.Message
						res.Records = []RecordError{{Index: 1}, {Index: 2, Message: "m"}}
						m := "m"
						wp.ErrorRecords = []kmsg.ProduceResponseTopicPartitionErrorRecord{{RelativeOffset: 1}, {RelativeOffset: 2, ErrorMessage: &m}}
					}
					if r.IntN(3) == 0 {
						res.Leader = Leader{r.Int32(), r.Int32()}
						if version >= 10 {
							wp.CurrentLeader.LeaderID, wp.CurrentLeader.LeaderEpoch = res.Leader.ID, res.Leader.Epoch
						}
					}
					results = append(results, res)
					wt.Partitions = append(wt.Partitions, wp)
				}
				topics = append(topics, ProduceTopicResult{wt.Topic, len(wt.Partitions)})
				want.Topics = append(want.Topics, wt)
			}
			nodes, brokers := randomNodes(r)
			if version >= 10 {
				for _, b := range brokers {
					want.Brokers = append(want.Brokers, kmsg.ProduceResponseBroker{NodeID: b.NodeID, Host: b.Host, Port: b.Port, Rack: b.Rack})
				}
			}
			got := AppendProduceResponse(nil, version, topics, results, nodes)
			if w := want.AppendTo(nil); !bytes.Equal(got, w) {
				t.Fatalf("version %d:\n got %x\nwant %x", version, got, w)
			}
		}
	}
}

func randomNodes(r *rand.Rand) (nodes []Node, brokers []kmsg.FetchResponseBroker) {
	for range r.IntN(4) {
		n := Node{ID: r.Int32(), Host: randomName(r), Port: r.Int32()}
		b := kmsg.FetchResponseBroker{NodeID: n.ID, Host: n.Host, Port: n.Port}
		if r.IntN(2) == 0 {
			n.Rack = randomName(r)
			b.Rack = &n.Rack
		}
		nodes, brokers = append(nodes, n), append(brokers, b)
	}
	return nodes, brokers
}

// FuzzFetchResponse: what is written piece by piece is what kmsg writes.
func FuzzFetchResponse(f *testing.F) {
	for v := range int64(18) {
		f.Add(v, v*31, []byte("records"))
	}
	f.Fuzz(func(t *testing.T, v, seed int64, records []byte) {
		version := int16(uint64(v) % 18)
		r := rand.New(rand.NewPCG(uint64(seed), 11))
		want := kmsg.NewPtrFetchResponse()
		want.SetVersion(version)
		if version >= 7 {
			want.ErrorCode, want.SessionID = int16(r.IntN(100)), r.Int32()
		}
		topics := r.IntN(4)
		got := AppendFetchHead(nil, version, Error(want.ErrorCode), want.SessionID, topics)
		for range topics {
			wt := kmsg.NewFetchResponseTopic()
			wt.Topic = randomName(r)
			fill(r, reflect.ValueOf(&wt.TopicID).Elem(), 0)
			n := r.IntN(3)
			got = AppendFetchTopic(got, version, wt.Topic, wt.TopicID, n)
			for range n {
				res, wp := randomFetchResult(r, version, records)
				got = AppendFetchPartition(got, version, &res)
				got = append(got, records...)
				got = AppendFetchPartitionEnd(got, version, &res)
				wt.Partitions = append(wt.Partitions, wp)
			}
			got = AppendFetchTopicEnd(got, version)
			want.Topics = append(want.Topics, wt)
		}
		nodes, brokers := randomNodes(r)
		if version >= 16 {
			want.Brokers = brokers
		}
		got = AppendFetchEnd(got, version, nodes)
		if w := want.AppendTo(nil); !bytes.Equal(got, w) {
			t.Fatalf("version %d:\n got %x\nwant %x", version, got, w)
		}
	})
}

func randomFetchResult(r *rand.Rand, version int16, records []byte) (FetchResult, kmsg.FetchResponseTopicPartition) {
	res := FetchResult{
		Partition: r.Int32(), Err: Error(r.IntN(100)), HighWatermark: r.Int64(), LastStableOffset: r.Int64(), LogStartOffset: r.Int64(),
		Preferred: r.Int32(), RecordsLen: int32(len(records)), Leader: NoLeader,
	}
	wp := kmsg.NewFetchResponseTopicPartition()
	wp.Partition, wp.ErrorCode, wp.HighWatermark = res.Partition, res.Err.Code(), res.HighWatermark
	wp.LastStableOffset, wp.LogStartOffset, wp.PreferredReadReplica = res.LastStableOffset, res.LogStartOffset, res.Preferred
	wp.RecordBatches = records
	if records == nil {
		wp.RecordBatches = []byte{}
	}
	if r.IntN(2) == 0 {
		res.Aborted = []AbortedTxn{}
		wp.AbortedTransactions = []kmsg.FetchResponseTopicPartitionAbortedTransaction{}
		for range r.IntN(3) {
			a := AbortedTxn{r.Int64(), r.Int64()}
			res.Aborted = append(res.Aborted, a)
			wp.AbortedTransactions = append(wp.AbortedTransactions, kmsg.FetchResponseTopicPartitionAbortedTransaction{ProducerID: a.ProducerID, FirstOffset: a.FirstOffset})
		}
	}
	if r.IntN(3) == 0 {
		res.Diverging = &EpochEnd{r.Int32(), r.Int64()}
		wp.DivergingEpoch.Epoch, wp.DivergingEpoch.EndOffset = res.Diverging.Epoch, res.Diverging.EndOffset
	}
	if r.IntN(3) == 0 {
		res.Leader = Leader{r.Int32(), r.Int32()}
		if version >= 16 {
			wp.CurrentLeader.LeaderID, wp.CurrentLeader.LeaderEpoch = res.Leader.ID, res.Leader.Epoch
		}
	}
	return res, wp
}
