// Package cluster is the image of the cluster that every broker holds: who is
// alive, which topics exist, who leads each partition. It is pure: no I/O, no
// goroutine, no clock.
//
// The controller describes each of its ZooKeeper transactions by an [Entry] of
// the change log. A broker loads an [Image] once from the znodes and then moves
// it forward entry by entry. Both go through an [Edit], which accepts reads and
// entries in any order: each item keeps the zxid that set it (Stat.mzxid of a
// znode that was read, the czxid of an applied entry; both are equal for what
// one transaction wrote), and something older never replaces something newer.
// Deletions leave a tombstone in the Edit, so that a topic that was deleted and
// made again can't be revived by a read that comes late.
//
// An Image and all that hangs on it is immutable once published: it may be read
// by any number of goroutines, and nobody changes a slice or map that it got
// from one.
package cluster
