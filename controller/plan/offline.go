package plan

import (
	"slices"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/zkpaths"
)

// Report is what a broker last said of its replicas: all that it can't serve,
// because their log directory has failed, or they are not open yet, or their log
// is missing.
type Report struct {
	// Zxid is the transaction that it came by. It says nothing of a registration
	// made later.
	Zxid    int64
	offline map[kafka.TopicID][]int32
}

// NewReport takes what a report names.
func NewReport(zxid int64, named []zkpaths.LogDirTopic) *Report {
	r := &Report{Zxid: zxid, offline: make(map[kafka.TopicID][]int32, len(named))}
	for _, t := range named {
		r.offline[t.ID] = append(r.offline[t.ID], t.Partitions...)
	}
	return r
}

func (r *Report) has(id kafka.TopicID, partition int32) bool {
	return slices.Contains(r.offline[id], partition)
}

// offline reports whether a live broker can't serve its replica: by its newest
// report, else by the state, unless the broker was born since that was written.
func (c Controller) offline(im *cluster.Image, t *cluster.Topic, number int32, p *cluster.Partition, id kafka.BrokerID, born bool) bool {
	if r := c.Reports[id]; r != nil && r.Zxid >= int64(im.Broker(id).Epoch) {
		return r.has(t.ID, number)
	}
	return !born && slices.Contains(p.Offline, id)
}

// sameMembers compares sets of brokers.
func sameMembers(a, b []kafka.BrokerID) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(id kafka.BrokerID) bool { return !slices.Contains(b, id) })
}
