// Package group is the coordinator of consumer groups: membership, generations,
// assignments and committed offsets, kept in __consumer_offsets as Apache Kafka
// 3.9's classic coordinator keeps them (kafka.coordinator.group).
//
// It has two parts. Machine is one group as a value: a method per event, no
// goroutine, no clock, no I/O; what must happen outside is returned as Effects,
// and the time is passed in. Coordinator is the part around it: it finds the
// group, holds its lock for the step, runs timers, lets callers wait, encodes
// records, appends them through a Store and loads them back when this broker
// becomes leader of a partition of __consumer_offsets.
//
// What a client is told rests on what is appended: a join that replaces a
// static member, the leader's assignment and committed offsets are answered,
// and offsets become visible, only after in-sync replicas have the records.
//
// Beyond what Kafka's coordinator knows, a Machine keeps the story of its last
// rebalances, and the Coordinator asks now and then where the partitions end that
// groups read from (Lags): from how the ends moved it tells how far behind a group
// is, in records and in time. Both leave by Explain and on the metrics page.
//
// Locks. Coordinator.mu guards the table of partitions, partition.mu its table
// of groups, instance.mu one group: its Machine and the callers that wait on it,
// appends.mu the queue of what is to be appended to a partition, lags.mu what is
// known of ends. partition.mu may be taken inside Coordinator.mu, and appends.mu
// inside instance.mu; no others nest. None is held over an append, a wait, a
// callback or a log line. Appends of one partition leave in the order in which the
// machines asked for them, by whoever finds the queue idle.
//
// The package knows no wire format but that of its records (protocol/grouplog), no
// segments, no replicas and no znodes but through LegacyOffsets.
package group
