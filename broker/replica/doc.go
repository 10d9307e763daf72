// Package replica holds this broker's partitions: whether it leads or follows
// each, in which epoch, who is in sync, and how far the high watermark is. It
// appends what producers send, gives ranges of files to fetches, and answers
// questions about offsets.
//
// What a partition is to be comes as plain values (State), whatever brought
// them: the image of the cluster (Reconciler) or, later, requests of a classic
// controller. An image advances at once; partitions are moved towards the
// newest one by a bounded number of workers, since moving may open files.
//
// A broker leads only under a state that is younger than its own present
// registration (State.Zxid above the registration's czxid): an older state was
// made for an earlier life of this broker, whose unsynced records may be gone.
// See Manager.SetRegistration.
//
// Locks, in order: Manager.mu, Partition.mu, then log.Log's own. No lock is
// held while waiters are woken, and none over network or ZooKeeper. Waiters
// park in a purgatory under the partition's name and re-read what they need. Fetches
// of sessions watch the partitions that they found to have nothing (package watch):
// whatever can change what a read finds says so by Partition.changedLocked, or touch,
// and Partition.unlock wakes those who wait.
package replica
