package api

import "barnabas/internal/kafka"

// The throttle of replication on the leader's side (KIP-73): a follower that is
// out of sync in a partition that the throttle covers gets no records of it while
// the rate is above the limit, and never much more than there is room for. What
// is sent to those in sync is counted as well, but they are never held back.

// noThrottle is the room where no throttle is set.
const noThrottle = -1

// room is how many bytes replicas that are throttled may get in this answer.
func (f *fetch) room() int64 {
	if !f.follower || !f.a.opt.Throttle.Active() {
		return noThrottle
	}
	return f.a.opt.Throttle.Room()
}

// roomAfter is what is left of room once a partition got n bytes.
func (f *fetch) roomAfter(room int64, tp kafka.TopicPartition, n int64) int64 {
	if room == noThrottle || !f.a.opt.Throttle.Covers(tp.Topic, tp.Partition) {
		return room
	}
	return max(0, room-n)
}

// countThrottled counts what is sent of partitions that the throttle covers.
func (f *fetch) countThrottled() {
	if !f.follower || !f.a.opt.Throttle.Active() {
		return
	}
	var sum int64
	for i := range f.parts {
		if p := &f.parts[i]; f.a.opt.Throttle.Covers(p.tp.Topic, p.tp.Partition) {
			sum += p.data.Records.Length
		}
	}
	f.a.opt.Throttle.Record(sum)
}
