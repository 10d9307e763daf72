package replica

import (
	"testing"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
	"barnabas/log"
)

// TestQueueOrder: who is written to goes first, then in the order of arrival; one
// that is worked on is passed over, and nobody is there twice.
func TestQueueOrder(t *testing.T) {
	var q queue
	q.init()
	tps := func(numbers ...int32) (out []kafka.TopicPartition) {
		for _, n := range numbers {
			out = append(out, kafka.TopicPartition{Topic: "t", Partition: n})
		}
		return out
	}
	q.put(cluster.Empty(), nil, tps(1, 2, 3, 1))
	q.put(cluster.Empty(), tps(7, 3), tps(4, 2))
	q.busy[tps(7)[0]], q.busy[tps(2)[0]] = true, true
	var got []int32
	for range 3 {
		tp, _, _ := q.take()
		got = append(got, tp.Partition)
	}
	q.done(tps(7)[0])
	q.done(tps(2)[0])
	for range 2 {
		tp, _, _ := q.take()
		got = append(got, tp.Partition)
	}
	want := []int32{1, 3, 4, 7, 2}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("taken %v, want %v", got, want)
		}
	}
	for _, tp := range tps(want...) {
		q.done(tp)
	}
	if !q.idle() {
		t.Error("something is left")
	}
}

// TestWrittenPartitionsGoFirst: a partition with records that were not synced yet
// overtakes those that nobody writes to.
func TestWrittenPartitionsGoFirst(t *testing.T) {
	m := start(t, vfs.NewMem())
	become(t, m, leading(0, self))
	cold := kafka.TopicPartition{Topic: "cold"}
	image := func(cold, hot int32) []cluster.Change {
		return []cluster.Change{{Kind: cluster.PartitionsChanged, Topic: "cold", Partitions: []int32{cold}}, {Kind: cluster.PartitionsChanged, Topic: tp.Topic, Partitions: []int32{hot}}}
	}
	m.Follow(cluster.Empty(), image(cold.Partition, tp.Partition))
	if first, _, _ := m.queue.take(); first != cold {
		t.Errorf("%v goes first of two that nobody writes to", first)
	}
	second, _, _ := m.queue.take()
	m.queue.done(cold)
	m.queue.done(second)
	if _, err := m.Append(tp, records(t, 1), 1, log.Client); err != nil {
		t.Fatal(err)
	}
	m.Follow(cluster.Empty(), image(cold.Partition, tp.Partition))
	if first, _, _ := m.queue.take(); first != tp {
		t.Errorf("%v goes before the one that is written to", first)
	}
}
