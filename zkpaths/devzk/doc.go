// Package devzk is a small ZooKeeper server in one process: it speaks the real
// wire protocol to any client, for `barnabas dev` and for tests. It is one
// server, never an ensemble, and it enforces no ACLs (they are kept and shown).
//
// What clients can see follows ZooKeeper 3.8: sessions and their expiry,
// ephemeral and sequential znodes, one-shot and persistent watches, multi, Stat
// fields, error codes, and the order of replies and events. The suite in this
// package runs on devzk and on a real ZooKeeper. Differences on purpose: a
// failed write takes no zxid, children are listed in order, containers are
// never collected, TTL znodes are refused as an unconfigured ZooKeeper does.
//
// Life of a Server: Start recovers Options.Dir, if there is one, listens and
// serves; Close ends all connections and returns when every goroutine has
// ended. Sessions outlive connections and, with a Dir, the process.
//
// Locks: Server.mu guards the tree, the sessions, the watches and the
// transaction log; each request runs under it, start to end, so replies and
// events leave in one order for everybody. conn.mu guards the bytes on their
// way out and nests inside Server.mu. Neither is held while waiting for a
// network or a disk's fsync, so a Server works in a testing/synctest bubble with an
// in-memory listener.
package devzk
