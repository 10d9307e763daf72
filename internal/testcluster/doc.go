// Package testcluster runs whole clusters in one process under testing/synctest:
// brokers as they are, on a network and on disks in memory, with the built-in
// ZooKeeper. Hours pass in seconds. Machines and processes crash, networks part,
// disks fill and fail, sessions expire, as a seeded schedule says, while producers
// and consumers work; a History notes what they were told, and is judged.
//
// The life of it: Run makes a bubble and in it a Cluster, starts the clients and
// the schedule's faults, mends everything, waits until the cluster is whole, and
// checks. The Go scheduler and select stay random: a seed is a strong hint, not a
// replay, so a failure prints the seed and the history.
//
// docs/simulation.md tells how to run it and what it found.
package testcluster
