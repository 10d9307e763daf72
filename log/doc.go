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
// their segment, and hold a reference on it afterwards; while they hold it pinned
// its file stays open. Files that nobody needs are closed where there are many
// (dataFile, fileCache). Offsets are published as atomics.
//
// Disks. Where one is nearly full, clients are refused (ErrNoRoom) and nothing
// else is; where it is full, what finds no room is refused and tried again later,
// and only what leaves a file in doubt takes the directory offline: what needs room
// comes before what can't be taken back. A write or
// sync that does not end takes it offline too (ErrStalled): a check for that
// stands before every lock that such a one may hold. docs/disks.md is the
// operator's view.
//
// Durability. The recovery point is the offset below which everything (data,
// indexes, snapshots, names) is known to be synced. Recovery trusts what is
// below and scans the rest.
package log
