// Package log keeps the logs of partitions in Kafka's files (described in
// docs/format): one Log is one partition's directory of segments, a Manager holds the log directories and all logs in them. It knows offsets,
// batches, producers and files; it knows no leaders, clients, ZooKeeper or error
// codes.
//
// The life of a Log: Open loads the directory and recovers it where the last
// stop was not clean; appends, reads and truncations follow; Close leaves it so
// that the next Open trusts it. After any failed write or sync the log is
// offline (ErrOffline) for good, and its Manager takes the whole directory with
// it: what a file holds after a failed fsync is unknown.
//
// Locks. Log.mu is the append lock: it guards the list of segments, offsets,
// producers and epochs, is held over the one WriteAt of an append and over no
// sync, except those of the small leader-epoch file. Log.maint, taken before mu,
// serialises what changes files behind the end: syncing, sealing, truncating,
// deleting, snapshots, closing; it is held over fsync. Reads take mu only to find
// their segment, and hold a reference on it afterwards: its file stays open
// until the last reference goes. Offsets are published as atomics.
//
// Durability. The recovery point is the offset below which everything (data,
// indexes, snapshots, names) is known to be synced. Recovery trusts what is
// below and scans the rest.
package log
