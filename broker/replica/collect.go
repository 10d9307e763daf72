package replica

import (
	"cmp"
	"slices"
	"strconv"
	"sync/atomic"

	"barnabas/internal/kafka"
	"barnabas/internal/metrics"
)

// Collect writes Kafka's ReplicaManager, the part of BrokerTopicMetrics that
// partitions count, the purgatories, and, if the page asks for partitions,
// kafka.log's Log and kafka.cluster's Partition of each.
func (m *Manager) Collect(p *metrics.Page) {
	var each func(*Status)
	var list []Status
	if p.Partitions {
		list = make([]Status, 0, m.Len())
		each = func(s *Status) { list = append(list, *s) }
	}
	c := m.Census(each)
	c.collect(p)
	for _, f := range []struct {
		name, help string
		v          *atomic.Int64
	}{
		{"isrshrinks", "Changes that took replicas out of the ISR of a led partition.", &m.isr.shrinks},
		{"isrexpands", "Changes that brought replicas into the ISR of a led partition.", &m.isr.expands},
	} {
		p.Meter("kafka_server_replicamanager_"+f.name, f.help, func() { p.Int(f.v.Load()) })
	}
	p.Family("kafka_server_replicafetchermanager_maxlag", metrics.GaugeKind, "Records that the followed partition that is furthest behind misses below its leader's high watermark.")
	p.Int(c.MaxLag, "clientId", "Replica")
	produces, fetches := m.Parked()
	p.Family("kafka_server_delayedoperationpurgatory_purgatorysize", metrics.GaugeKind, "Requests that wait.")
	p.Int(int64(fetches), "delayedOperation", "Fetch")
	p.Int(int64(produces), "delayedOperation", "Produce")
	p.Counter("barnabas_replicas_alone_syncs_total", "Syncs of logs before acknowledging, since their leaders were alone in sync.", m.syncs.count())
	if p.Partitions {
		collectPartitions(p, list)
		collectLag(p, list)
	}
}

func (c *Census) collect(p *metrics.Page) {
	const prefix = "kafka_server_replicamanager_"
	for _, g := range []struct {
		name, help string
		v          int
	}{
		{"partitioncount", "Partitions of this broker.", c.Partitions},
		{"leadercount", "Partitions that this broker leads.", c.Leaders},
		{"underreplicatedpartitions", "Led partitions with fewer in-sync replicas than replicas.", c.UnderReplicated},
		{"underminisrpartitioncount", "Led partitions with fewer in-sync replicas than min.insync.replicas.", c.UnderMinISR},
		{"atminisrpartitioncount", "Led partitions with just min.insync.replicas in sync.", c.AtMinISR},
		{"reassigningpartitions", "Led partitions that are being reassigned.", c.Reassigning},
		{"offlinereplicacount", "Partitions without a log, since its directory failed.", c.Offline},
		{"produceridcount", "Producers that the logs of this broker know; one that writes to two partitions counts twice.", c.Producers},
	} {
		p.Gauge(prefix+g.name, g.help, int64(g.v))
	}
	p.Gauge("barnabas_replicas_moving", "Partitions that are being brought to the newest state.", int64(c.Moving))
	p.Gauge("barnabas_replicas_not_usable", "Partitions that this broker is to lead, under a state older than its registration.", int64(c.Unusable))
	for _, f := range []struct {
		name, help string
		v          func(*Traffic) int64
	}{
		{"messagesin", "Records appended.", func(t *Traffic) int64 { return t.MessagesIn }},
		{"bytesin", "Bytes of records appended.", func(t *Traffic) int64 { return t.BytesIn }},
		{"bytesout", "Bytes of records sent to consumers.", func(t *Traffic) int64 { return t.BytesOut }},
		{"replicationbytesin", "Bytes of records copied from leaders.", func(t *Traffic) int64 { return t.ReplicationIn }},
		{"replicationbytesout", "Bytes of records sent to followers.", func(t *Traffic) int64 { return t.ReplicationOut }},
		{"reassignmentbytesin", "Bytes of records copied by replicas that a reassignment brings.", func(t *Traffic) int64 { return t.ReassignmentIn }},
		{"reassignmentbytesout", "Bytes of records sent to replicas that a reassignment brings.", func(t *Traffic) int64 { return t.ReassignmentOut }},
		{"bytesrejected", "Bytes of records refused as too large.", func(t *Traffic) int64 { return t.BytesRejected }},
		{"totalproducerequests", "Appends asked for, one for each partition of a request.", func(t *Traffic) int64 { return t.Produces }},
		{"failedproducerequests", "Appends that failed unexpectedly.", func(t *Traffic) int64 { return t.Failed }},
	} {
		p.Meter("kafka_server_brokertopicmetrics_"+f.name, f.help+" Without topic: of all.", func() {
			p.Int(f.v(&c.Traffic))
			for i := range c.Topics {
				p.Int(f.v(&c.Topics[i].Traffic), "topic", c.Topics[i].Topic)
			}
		})
	}
	for _, f := range []struct {
		name, help string
		v          int64
	}{
		{"invalidmessagecrcrecords", "Batches refused as damaged.", c.Traffic.BadCRC},
		{"nokeycompactedtopicrecords", "Batches refused for a record that may not be there, such as one without a key in a compacted topic.", c.Traffic.Invalid},
		{"invalidoffsetorsequencerecords", "Batches refused as out of their producer's order.", c.Traffic.BadSequence},
	} {
		p.Meter("kafka_server_brokertopicmetrics_"+f.name, f.help, func() { p.Int(f.v) })
	}
}

// collectPartitions writes several series for each partition.
func collectPartitions(p *metrics.Page, list []Status) {
	slices.SortFunc(list, func(a, b Status) int {
		return cmp.Or(cmp.Compare(a.TP.Topic, b.TP.Topic), cmp.Compare(a.TP.Partition, b.TP.Partition))
	})
	flag := func(b bool) int64 {
		if b {
			return 1
		}
		return 0
	}
	for _, f := range []struct {
		name, help string
		has        func(*Status) bool
		v          func(*Status) int64
	}{
		{"kafka_log_log_size", "Bytes of a log.", hasLog, func(s *Status) int64 { return s.Log.Size() }},
		{"kafka_log_log_logstartoffset", "First offset of a log.", hasLog, func(s *Status) int64 { return s.Log.StartOffset() }},
		{"kafka_log_log_logendoffset", "Offset after the last one of a log.", hasLog, func(s *Status) int64 { return s.Log.EndOffset() }},
		{"kafka_log_log_numlogsegments", "Segments of a log.", hasLog, func(s *Status) int64 { return int64(s.Log.Segments()) }},
		{"kafka_cluster_partition_laststableoffsetlag", "Offsets from the last stable one to the high watermark.", leads, func(s *Status) int64 {
			return max(s.Log.HighWatermark()-s.Log.LastStableOffset(), 0)
		}},
		{"kafka_cluster_partition_replicascount", "Replicas of a led partition.", leads, func(s *Status) int64 { return int64(s.Replicas) }},
		{"kafka_cluster_partition_insyncreplicascount", "In-sync replicas of a led partition.", leads, func(s *Status) int64 { return int64(s.ISR) }},
		{"kafka_cluster_partition_underreplicated", "1 for a led partition with fewer in-sync replicas than replicas.", leads, func(s *Status) int64 {
			return flag(s.ISR < s.Replicas)
		}},
		{"kafka_cluster_partition_underminisr", "1 for a led partition with fewer in-sync replicas than min.insync.replicas.", leads, func(s *Status) int64 {
			return flag(s.ISR < s.MinISR)
		}},
		{"kafka_cluster_partition_atminisr", "1 for a led partition with just min.insync.replicas in sync.", leads, func(s *Status) int64 {
			return flag(s.ISR == s.MinISR)
		}},
	} {
		p.Family(f.name, metrics.GaugeKind, f.help)
		for i := range list {
			if s := &list[i]; f.has(s) {
				p.Int(f.v(s), "topic", s.TP.Topic, "partition", strconv.Itoa(int(s.TP.Partition)))
			}
		}
	}
}

// collectLag writes how far followed partitions are behind, under the name of Kafka's
// fetcher for their leader.
func collectLag(p *metrics.Page, list []Status) {
	p.Family("kafka_server_fetcherlagmetrics_consumerlag", metrics.GaugeKind, "Records that a followed partition misses below its leader's high watermark.")
	for i := range list {
		if s := &list[i]; s.Log != nil && !s.Leading && s.Leader != kafka.NoBroker {
			p.Int(s.Lag, "clientId", "ReplicaFetcherThread-0-"+strconv.Itoa(int(s.Leader)), "topic", s.TP.Topic, "partition", strconv.Itoa(int(s.TP.Partition)))
		}
	}
}

func hasLog(s *Status) bool { return s.Log != nil }

func leads(s *Status) bool { return s.Leading && s.Log != nil }
