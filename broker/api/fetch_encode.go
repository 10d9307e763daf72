package api

import (
	"barnabas/broker/replica"
	"barnabas/cluster"
	"barnabas/log"
	"barnabas/net/socket"
	"barnabas/protocol"
)

// encode writes the answer: the partitions that are to be told, and their
// records as ranges.
func (f *fetch) encode(out *socket.Out, session int32) {
	v := f.from.Version
	im := f.a.opt.Image()
	topics := 0
	for i := f.next(0); i < len(f.parts); i = f.topicEnd(i) {
		topics++
	}
	out.B = protocol.AppendFetchHead(out.B, v, protocol.None, session, topics)
	for i := f.next(0); i < len(f.parts); {
		end := f.topicEnd(i)
		n := 0
		for j := i; j < end; j = f.next(j + 1) {
			n++
		}
		key := &f.wants[i].Key
		out.B = protocol.AppendFetchTopic(out.B, v, key.Topic, key.ID, n)
		for ; i < end; i = f.next(i + 1) {
			f.encodePart(out, im, i)
		}
		out.B = protocol.AppendFetchTopicEnd(out.B, v)
	}
	out.B = protocol.AppendFetchEnd(out.B, v, f.nodes)
	f.release() // what was not told
}

// next is the first partition from i on that is told.
func (f *fetch) next(i int) int {
	for i < len(f.parts) && !f.tell[i] {
		i++
	}
	return i
}

// topicEnd is the first partition after i that is told and belongs to another
// topic.
func (f *fetch) topicEnd(i int) int {
	a := &f.wants[i].Key
	for i = f.next(i + 1); i < len(f.parts); i = f.next(i + 1) {
		if b := &f.wants[i].Key; a.Topic != b.Topic || a.ID != b.ID {
			break
		}
	}
	return i
}

// encodePart writes one partition. If its records can't be read after all, it
// says so instead.
func (f *fetch) encodePart(out *socket.Out, im *cluster.Image, i int) {
	v, p := f.from.Version, &f.parts[i]
	res := f.result(im, i)
	start := len(out.B)
	out.B = protocol.AppendFetchPartition(out.B, v, &res)
	if res.RecordsLen > 0 {
		records := p.data.Records
		p.data.Records.OnRelease = nil // out releases it from now on
		if err := out.AppendRange(records); err != nil {
			f.a.log.Error("records could not be read", "topic", p.tp.Topic, "partition", p.tp.Partition, "error", err)
			out.B = out.B[:start]
			p.data, p.err = replica.Data{}, protocol.KafkaStorageError
			res = f.result(im, i)
			out.B = protocol.AppendFetchPartition(out.B, v, &res)
		}
	}
	out.B = protocol.AppendFetchPartitionEnd(out.B, v, &res)
}

// result is what one partition answers.
func (f *fetch) result(im *cluster.Image, i int) protocol.FetchResult {
	p := &f.parts[i]
	res := protocol.FetchResult{
		Partition: p.tp.Partition, Err: p.refused, HighWatermark: -1, LastStableOffset: -1, LogStartOffset: -1,
		Preferred: -1, Leader: protocol.NoLeader,
	}
	if p.refused != protocol.None {
		// Empty here, null in errors of reading. Records are never null, as they are
		// in Kafka 3.9 beside UNSUPPORTED_COMPRESSION_TYPE and UNSUPPORTED_VERSION:
		// librdkafka takes that for a broken answer and never shows the error.
		res.Aborted = []protocol.AbortedTxn{}
		return res
	}
	if p.err != nil {
		f.failed(im, p, &res)
		return res
	}
	d := &p.data
	res.HighWatermark, res.LastStableOffset, res.LogStartOffset = d.HighWatermark, d.LastStableOffset, d.LogStartOffset
	res.RecordsLen = int32(d.Records.Length)
	if d.Elsewhere {
		res.Preferred = int32(d.Prefer)
	}
	if d.Diverging != nil {
		res.Diverging = &protocol.EpochEnd{Epoch: int32(d.Diverging.Epoch), EndOffset: d.Diverging.Offset}
	}
	if f.reader.Isolation == replica.ReadCommitted {
		res.Aborted = aborted(d.Aborted)
	}
	return res
}

// failed fills the result of a partition that could not be read.
func (f *fetch) failed(im *cluster.Image, p *fetchPart, res *protocol.FetchResult) {
	res.Err = protocol.CodeOf(p.err)
	switch {
	case res.Err == protocol.UnknownTopicOrPartition && im.Partition(p.tp) != nil:
		res.Err = protocol.NotLeaderOrFollower // it exists, elsewhere
	case res.Err == protocol.KafkaStorageError && f.from.Version <= 5:
		res.Err = protocol.NotLeaderOrFollower // clients of then don't know it
	case res.Err == protocol.UnknownServerError:
		f.a.log.Error("fetch failed", "topic", p.tp.Topic, "partition", p.tp.Partition, "error", p.err)
	}
	if f.from.Version >= 16 && (res.Err == protocol.NotLeaderOrFollower || res.Err == protocol.FencedLeaderEpoch) {
		res.Leader = leaderOf(im, p.tp, p.err)
		f.nodes = addNode(f.nodes, im, f.from.Conn.Listener(), res.Leader)
	}
}

func aborted(txns []log.AbortedTxn) []protocol.AbortedTxn {
	list := make([]protocol.AbortedTxn, len(txns))
	for i, t := range txns {
		list[i] = protocol.AbortedTxn{ProducerID: t.ProducerID, FirstOffset: t.FirstOffset}
	}
	return list
}
