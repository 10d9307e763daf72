package protocol

import (
	"bytes"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// fetchAnswer is an answer with two topics, records, a diverging epoch, an
// error and tagged fields.
func fetchAnswer() []byte {
	r := kmsg.NewPtrFetchResponse()
	r.Version, r.SessionID = 17, 9
	for i := range 2 {
		t := kmsg.NewFetchResponseTopic()
		t.TopicID = [16]byte{byte(i + 1)}
		for j := range 3 {
			p := kmsg.NewFetchResponseTopicPartition()
			p.Partition, p.HighWatermark, p.LogStartOffset = int32(j), 100, 5
			p.RecordBatches = bytes.Repeat([]byte{'r'}, 200*j)
			if j == 1 {
				p.AbortedTransactions = append(p.AbortedTransactions, kmsg.NewFetchResponseTopicPartitionAbortedTransaction())
				p.DivergingEpoch.Epoch, p.DivergingEpoch.EndOffset = 3, 44
			}
			if j == 2 {
				p.ErrorCode = NotLeaderOrFollower.Code()
				p.CurrentLeader.LeaderID, p.CurrentLeader.LeaderEpoch = 2, 8
			}
			t.Partitions = append(t.Partitions, p)
		}
		r.Topics = append(r.Topics, t)
	}
	b := kmsg.NewFetchResponseBroker()
	b.Host = "host"
	r.Brokers = append(r.Brokers, b)
	return r.AppendTo(nil)
}

// read reads a whole answer.
func read(body []byte) (a FetchAnswer, got []Fetched, err error) {
	if a, err = ReadFetchAnswer(body); err != nil {
		return a, nil, err
	}
	for {
		var p Fetched
		more, err := a.Next(&p)
		if err != nil || !more {
			return a, got, err
		}
		got = append(got, p)
	}
}

func TestReadFetchAnswer(t *testing.T) {
	whole := fetchAnswer()
	for n := range whole {
		if _, _, err := read(whole[:n]); err == nil {
			t.Fatalf("an answer cut at %d of %d bytes was accepted", n, len(whole))
		}
	}
	sum := 0
	if n := testing.AllocsPerRun(100, func() {
		a, err := ReadFetchAnswer(whole)
		var p Fetched
		for more := err == nil; more; {
			if more, err = a.Next(&p); more {
				sum += len(p.Records)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}); n > 0 || sum == 0 {
		t.Errorf("%v allocations, %d bytes", n, sum)
	}
}

// FuzzReadFetchAnswer: what is read is what kmsg reads, and what kmsg wrote is
// read.
func FuzzReadFetchAnswer(f *testing.F) {
	f.Add(fetchAnswer())
	f.Add([]byte{0, 0, 0, 0, 0, 70, 0, 0, 0, 0, 1, 0})
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, body []byte) {
		a, got, err := read(body)
		if err != nil {
			return
		}
		want := kmsg.NewPtrFetchResponse()
		want.Version = 17
		if err := want.ReadFrom(body); err != nil {
			return // kmsg is stricter about some tagged fields that we skip
		}
		if a.Err.Code() != want.ErrorCode || a.Session != want.SessionID {
			t.Fatalf("got %d, session %d; want %d, %d", a.Err, a.Session, want.ErrorCode, want.SessionID)
		}
		i := 0
		for _, topic := range want.Topics {
			for _, p := range topic.Partitions {
				if i == len(got) {
					t.Fatalf("%d partitions are missing", len(want.Topics))
				}
				g := got[i]
				i++
				if g.TopicID != topic.TopicID || g.Partition != p.Partition || g.Err.Code() != p.ErrorCode || g.HighWatermark != p.HighWatermark ||
					g.LogStartOffset != p.LogStartOffset || !bytes.Equal(g.Records, p.RecordBatches) {
					t.Fatalf("got %+v, want %+v", g, p)
				}
				if d := p.DivergingEpoch; g.Diverged != (d.Epoch >= 0 && d.EndOffset >= 0) || g.Diverged && g.Diverging != (EpochEnd{d.Epoch, d.EndOffset}) {
					t.Fatalf("diverging: got %+v, want %+v", g.Diverging, d)
				}
			}
		}
		if i != len(got) {
			t.Fatalf("%d partitions too many", len(got)-i)
		}
	})
}
