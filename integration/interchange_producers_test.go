//go:build integration

package integration

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/internal/zktest"
	"barnabas/log/batch"
	"barnabas/zkpaths/session"
)

// sequenced is an idempotent producer that sends to one partition what it is told to.
type sequenced struct {
	t       *testing.T
	id      int64
	epoch   int16
	bases   []int64 // where batch n was stored
	perSend int
}

func newSequenced(t *testing.T, b *broker) *sequenced {
	t.Helper()
	s := &sequenced{t: t, perSend: 3}
	eventually(t, patience, "a producer id", func() error {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.ProducerID, req.ProducerEpoch = -1, -1
		resp, err := req.RequestWith(t.Context(), b.client())
		if err != nil {
			return err
		}
		s.id, s.epoch = resp.ProducerID, resp.ProducerEpoch
		return kerr.ErrorForCode(resp.ErrorCode)
	})
	return s
}

// send sends batch n once and gives where it is.
func (s *sequenced) send(b *broker, n int) (int64, error) {
	s.t.Helper()
	o := batch.BuilderOptions{Producer: &batch.Producer{ID: s.id, Epoch: s.epoch, Sequence: int32(n * s.perSend)}}
	w := batch.NewBuilder(o)
	for i := range s.perSend {
		w.Append(time.Now().UnixMilli(), nil, fmt.Appendf(nil, "%d-%d-%s", n, i, strings.Repeat("x", 100)))
	}
	recs, err := w.Bytes()
	if err != nil {
		s.t.Fatal(err)
	}
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 30_000
	rt := kmsg.NewProduceRequestTopic()
	rt.Topic = "p"
	rp := kmsg.NewProduceRequestTopicPartition()
	rp.Records = recs
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	base := int64(-1)
	// A broker that has just started does not lead yet.
	eventually(s.t, patience, "an answer", func() error {
		resp, rerr := req.RequestWith(s.t.Context(), b.client())
		if rerr != nil {
			return rerr
		}
		p := resp.Topics[0].Partitions[0]
		if err = kerr.ErrorForCode(p.ErrorCode); kerr.IsRetriable(err) && err != kerr.OutOfOrderSequenceNumber {
			return err
		}
		base = p.BaseOffset
		return nil
	})
	return base, err
}

// append sends the next n batches.
func (s *sequenced) append(b *broker, n int) {
	s.t.Helper()
	for range n {
		base, err := s.send(b, len(s.bases))
		if err != nil {
			s.t.Fatalf("batch %d: %v", len(s.bases), err)
		}
		s.bases = append(s.bases, base)
	}
}

// known wants the last n batches to be known: sent again they are where they were.
func (s *sequenced) known(b *broker, n int, who string) {
	s.t.Helper()
	for i := len(s.bases) - n; i < len(s.bases); i++ {
		if base, err := s.send(b, i); err != nil || base != s.bases[i] {
			s.t.Errorf("%s, batch %d of %d again: at %d, %v; want %d", who, i, len(s.bases), base, err, s.bases[i])
		}
	}
}

// described wants DescribeProducers to tell of this producer once, with its last
// sequence, and where the transaction of the other one began.
func (s *sequenced) described(b *broker, transaction int64, who string) {
	s.t.Helper()
	eventually(s.t, patience, "producers", func() error {
		req := kmsg.NewPtrDescribeProducersRequest()
		rt := kmsg.NewDescribeProducersRequestTopic()
		rt.Topic, rt.Partitions = "p", []int32{0}
		req.Topics = append(req.Topics, rt)
		resp, err := req.RequestWith(s.t.Context(), b.client())
		if err != nil {
			return err
		}
		p := resp.Topics[0].Partitions[0]
		if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
			return err
		}
		mine, open := 0, int64(-1)
		for _, a := range p.ActiveProducers {
			if a.ProducerID == s.id {
				mine++
				if want := int32(len(s.bases)*s.perSend - 1); a.LastSequence != want {
					s.t.Errorf("%s: last sequence %d, want %d", who, a.LastSequence, want)
				}
			} else {
				open = max(open, a.CurrentTxnStartOffset)
			}
		}
		if mine != 1 || open != transaction {
			s.t.Errorf("%s: the producer is described %d times, a transaction is open from %d, want %d", who, mine, open, transaction)
		}
		return nil
	})
}

// TestInterchangeProducers: a snapshot of ours, with several batches of a producer,
// is one to Apache Kafka, after a clean stop and after a kill: it knows the last batch
// of the producer and the open transaction, and goes on; and we know all batches again
// after a restart, and after Apache Kafka the last.
func TestInterchangeProducers(t *testing.T) {
	for _, clean := range []bool{true, false} {
		t.Run(map[bool]string{true: "stopped", false: "killed"}[clean], func(t *testing.T) {
			b := prepareBroker(t, zktest.Chroot(t, zktest.Real(t)), "log.segment.bytes=2000", "log.flush.offset.checkpoint.interval.ms=200",
				"transaction.state.log.num.partitions=1", "transaction.max.timeout.ms=900000")
			b.startKafka()
			createTopic(t, b, "p", 1)
			open := beginTransaction(t, b)
			b.proc.Kill() // what is known of the transaction must be read from its batches
			b.start()
			b.awaitReady(patience)
			s := newSequenced(t, b)
			s.append(b, 14)
			s.known(b, 5, "Barnabas")
			s.described(b, open, "Barnabas")
			b.stop()
			b.start()
			b.awaitReady(patience)
			s.known(b, 5, "Barnabas, started again")
			s.append(b, 8)
			if clean {
				b.stop()
			} else {
				// Apache Kafka shall load a snapshot of ours, not read all.
				eventually(t, patience, "a recovery point", func() error { return recoveredFrom(b, s.bases[14]) })
				b.proc.Kill()
				unregistered(t, b) // Apache Kafka does not wait for the session, and ends
			}
			dumpSnapshots(t, b, s.id, open)

			b.startKafka()
			s.described(b, open, "Apache Kafka")
			s.known(b, 1, "Apache Kafka")
			if base, err := s.send(b, len(s.bases)-2); err != kerr.OutOfOrderSequenceNumber {
				t.Errorf("Apache Kafka knows more than the last batch: %d, %v", base, err)
			}
			s.append(b, 3)
			endTransaction(t, b, open)
			s.append(b, 3)
			s.described(b, -1, "Apache Kafka, later")
			b.stopKafka()

			b.start()
			b.awaitReady(patience)
			s.described(b, -1, "Barnabas, after Apache Kafka")
			s.known(b, 1, "Barnabas, after Apache Kafka")
			s.append(b, 4)
			s.known(b, 5, "Barnabas, after Apache Kafka")
		})
	}
}

func transactional(b *broker) *kgo.Client {
	return b.client(kgo.TransactionalID("t"), kgo.DefaultProduceTopic("p"), kgo.TransactionTimeout(patience*5), kgo.ProducerLinger(0))
}

// beginTransaction writes four batches of a transaction that stays open, and tells
// where it begins.
func beginTransaction(t *testing.T, b *broker) int64 {
	t.Helper()
	c := transactional(b)
	defer c.Close()
	if err := c.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	first := int64(-1)
	for i := range 4 {
		r, err := c.ProduceSync(t.Context(), kgo.StringRecord(fmt.Sprintf("open-%d", i))).First()
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = r.Offset
		}
	}
	return first
}

// endTransaction lets the transaction that is open from first be aborted by the next
// life of its producer, and wants what follows to be readable.
func endTransaction(t *testing.T, b *broker, first int64) {
	t.Helper()
	c := transactional(b)
	defer c.Close()
	if err := c.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := c.ProduceSync(t.Context(), kgo.StringRecord("committed")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := c.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	r := b.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"p": {0: kgo.NewOffset().At(first)}}), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	defer r.Close()
	for seen := false; !seen; {
		f := r.PollFetches(t.Context())
		if err := f.Err(); err != nil {
			t.Fatal(err)
		}
		f.EachRecord(func(r *kgo.Record) {
			seen = seen || string(r.Value) == "committed"
			if strings.HasPrefix(string(r.Value), "open-") {
				t.Errorf("%s at %d was aborted", r.Value, r.Offset)
			}
		})
	}
}

// recoveredFrom wants the saved recovery point of p-0 at offset or later.
func recoveredFrom(b *broker, offset int64) error {
	text, err := os.ReadFile(b.data("recovery-point-offset-checkpoint"))
	if err != nil {
		return err
	}
	for line := range bytes.Lines(text) {
		var at int64
		if n, _ := fmt.Sscanf(string(line), "p 0 %d", &at); n == 1 && at >= offset {
			return nil
		}
	}
	return fmt.Errorf("p-0 below %d in %q", offset, text)
}

// dumpSnapshots wants DumpLogSegments to read the snapshots without complaint, and to
// find in the last five batches of the producer, and four of the open transaction.
func dumpSnapshots(t *testing.T, b *broker, id, open int64) {
	t.Helper()
	files := b.glob("p-0/*.snapshot")
	last := java(t, "", "kafka.tools.DumpLogSegments", "--files", files[len(files)-1])
	if n, all := strings.Count(last, fmt.Sprintf("producerId: %d ", id)), strings.Count(last, "producerId: "); n != 5 || all != 5+4 ||
		strings.Count(last, fmt.Sprintf("currentTxnFirstOffset: OptionalLong[%d]", open)) != 1 {
		t.Errorf("%d of %d batches are of producer %d in %s: %s", n, all, id, files[len(files)-1], last)
	}
	all := java(t, "", "kafka.tools.DumpLogSegments", "--files", strings.Join(files, ","))
	if got := strings.Count(all, "Dumping "); got != len(files) || strings.Contains(strings.ToLower(all), "corrupt") || strings.Contains(all, "xception") {
		t.Errorf("%d of %d snapshots dumped: %.3000s", got, len(files), all)
	}
}

// unregistered waits until the session of a broker that was killed has ended.
func unregistered(t *testing.T, b *broker) {
	t.Helper()
	servers, chroot, err := session.ParseConnect(b.zk)
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := zk.Connect(servers, 10*time.Second, zk.WithLogInfo(false))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	eventually(t, patience, "the end of the session", func() error {
		there, _, err := c.Exists(chroot + "/brokers/ids/1")
		if there {
			return errors.New("it is registered")
		}
		return err
	})
}
