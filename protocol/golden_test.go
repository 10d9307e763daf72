package protocol

import (
	"bytes"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// exchange is a line of testdata/frames.tsv: what clients sent to Apache Kafka
// 3.9.1, and its answers to Produce and Fetch.
type exchange struct {
	name     string
	response bool
	frame    []byte // without the length
	request  Header // of a response: its request's
}

func goldenFrames(t *testing.T) []exchange {
	t.Helper()
	text, err := os.ReadFile("testdata/frames.tsv")
	if err != nil {
		t.Fatal(err)
	}
	var list []exchange
	var last Header
	for line := range strings.Lines(string(text)) {
		f := strings.Split(strings.TrimSpace(line), "\t")
		b, err := hex.DecodeString(f[2])
		if err != nil || len(b) < 4 {
			t.Fatalf("%s: %v", f[0], err)
		}
		e := exchange{name: f[0], response: f[1] == "response", frame: b[4:], request: last}
		if !e.response {
			if last, _, err = ParseHeader(e.frame); err != nil {
				t.Fatalf("%s: %v", e.name, err)
			}
		}
		list = append(list, e)
	}
	return list
}

func TestGoldenRequests(t *testing.T) {
	for _, e := range goldenFrames(t) {
		if e.response {
			continue
		}
		h, body, err := ParseHeader(e.frame)
		if err != nil {
			t.Fatalf("%s: %v", e.name, err)
		}
		if err := CheckRequest(h.Key, h.Version, body); err != nil {
			t.Errorf("%s: %v\n%x", e.name, err, body)
		}
	}
}

func node(id int32, host string, port int32, rack *string) Node {
	n := Node{ID: id, Host: host, Port: port}
	if rack != nil {
		n.Rack = *rack
	}
	return n
}

func TestGoldenProduceResponses(t *testing.T) {
	n := 0
	for _, e := range goldenFrames(t) {
		if !e.response || e.request.Key != KeyProduce {
			continue
		}
		n++
		v := e.request.Version
		got := AppendResponseHeader(nil, KeyProduce, v, e.request.CorrelationID)[4:]
		resp := kmsg.NewPtrProduceResponse()
		resp.SetVersion(v)
		if err := resp.ReadFrom(e.frame[len(got):]); err != nil {
			t.Fatalf("%s: %v", e.name, err)
		}
		var topics []ProduceTopicResult
		var results []ProduceResult
		for _, wt := range resp.Topics {
			topics = append(topics, ProduceTopicResult{wt.Topic, len(wt.Partitions)})
			for _, p := range wt.Partitions {
				var message string
				if p.ErrorMessage != nil {
					message = *p.ErrorMessage
				}
				results = append(results, ProduceResult{
					Message: message, Partition: p.Partition, Err: Error(p.ErrorCode), BaseOffset: p.BaseOffset, LogAppendTime: p.LogAppendTime,
					LogStartOffset: p.LogStartOffset, Leader: Leader{p.CurrentLeader.LeaderID, p.CurrentLeader.LeaderEpoch},
				})
			}
		}
		var nodes []Node
		for _, b := range resp.Brokers {
			nodes = append(nodes, node(b.NodeID, b.Host, b.Port, b.Rack))
		}
		got = AppendProduceResponse(got, v, topics, results, nodes)
		if !bytes.Equal(got, e.frame) {
			t.Errorf("%s:\n got %x\nwant %x", e.name, got, e.frame)
		}
	}
	if n == 0 {
		t.Error("no frames")
	}
}

func TestGoldenFetchResponses(t *testing.T) {
	n := 0
	for _, e := range goldenFrames(t) {
		v := e.request.Version
		if !e.response || e.request.Key != KeyFetch {
			continue
		}
		n++
		got := AppendResponseHeader(nil, KeyFetch, v, e.request.CorrelationID)[4:]
		resp := kmsg.NewPtrFetchResponse()
		resp.SetVersion(v)
		if err := resp.ReadFrom(e.frame[len(got):]); err != nil {
			t.Fatalf("%s: %v", e.name, err)
		}
		got = AppendFetchHead(got, v, Error(resp.ErrorCode), resp.SessionID, len(resp.Topics))
		for _, wt := range resp.Topics {
			got = AppendFetchTopic(got, v, wt.Topic, wt.TopicID, len(wt.Partitions))
			for _, p := range wt.Partitions {
				r := FetchResult{
					Partition: p.Partition, Err: Error(p.ErrorCode), HighWatermark: p.HighWatermark, LastStableOffset: p.LastStableOffset,
					LogStartOffset: p.LogStartOffset, Preferred: p.PreferredReadReplica, RecordsLen: int32(len(p.RecordBatches)),
					Leader: Leader{p.CurrentLeader.LeaderID, p.CurrentLeader.LeaderEpoch},
				}
				if p.RecordBatches == nil {
					r.RecordsLen = -1
				}
				if p.AbortedTransactions != nil {
					r.Aborted = []AbortedTxn{}
				}
				for _, a := range p.AbortedTransactions {
					r.Aborted = append(r.Aborted, AbortedTxn{a.ProducerID, a.FirstOffset})
				}
				got = AppendFetchPartition(got, v, &r)
				got = append(got, p.RecordBatches...)
				got = AppendFetchPartitionEnd(got, v, &r)
			}
			got = AppendFetchTopicEnd(got, v)
		}
		var nodes []Node
		for _, b := range resp.Brokers {
			nodes = append(nodes, node(b.NodeID, b.Host, b.Port, b.Rack))
		}
		got = AppendFetchEnd(got, v, nodes)
		if !bytes.Equal(got, e.frame) {
			t.Errorf("%s:\n got %x\nwant %x", e.name, got, e.frame)
		}
	}
	if n == 0 {
		t.Error("no frames")
	}
}

// FuzzParseHeader: never panics, and the body is the end of the frame.
func FuzzParseHeader(f *testing.F) {
	f.Add([]byte("\x00\x12\x00\x03\x00\x00\x00\x04\x00\x05probe\x00body"))
	f.Add([]byte("\x00\x07\x00\x00\x00\x00\x00\x04"))
	f.Fuzz(func(t *testing.T, frame []byte) {
		h, body, err := ParseHeader(frame)
		if err == nil && (!bytes.HasSuffix(frame, body) || len(h.ClientID) > len(frame)) {
			t.Fatalf("%+v, body %q of %q", h, body, frame)
		}
	})
}

func TestErrorNames(t *testing.T) {
	for _, tc := range []struct {
		e    Error
		name string
	}{
		{None, "NONE"}, {UnknownServerError, "UNKNOWN_SERVER_ERROR"}, {NotLeaderOrFollower, "NOT_LEADER_OR_FOLLOWER"},
		{TransactionAbortable, "TRANSACTION_ABORTABLE"}, {Error(-9), "UNKNOWN_SERVER_ERROR"}, {Error(9999), "UNKNOWN_SERVER_ERROR"},
	} {
		if got := tc.e.Name(); got != tc.name {
			t.Errorf("%d: got %s, want %s", tc.e, got, tc.name)
		}
	}
	if got := CodeOf(Fail(InvalidRecord, "no key")); got != InvalidRecord {
		t.Errorf("CodeOf a Failure: got %v", got)
	}
	if got := CodeOf(os.ErrClosed); got != UnknownServerError {
		t.Errorf("CodeOf a foreign error: got %v", got)
	}
}

func TestParseDoesNotAllocate(t *testing.T) {
	for _, e := range goldenFrames(t) {
		if e.response || !strings.HasPrefix(e.name, "Produce v11") {
			continue
		}
		var p ProduceRequest
		n := testing.AllocsPerRun(100, func() {
			h, body, err := ParseHeader(e.frame)
			if err == nil {
				err = p.Parse(h.Version, body)
			}
			if err != nil {
				t.Fatal(err)
			}
		})
		if n != 0 {
			t.Errorf("header and Produce request: %v allocations", n)
		}
		return
	}
	t.Fatal("no frame")
}
