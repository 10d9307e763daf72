// Package registration keeps a broker's znode under /brokers/ids: it creates the
// start-up paths, reads or makes the cluster id, generates broker ids, and holds
// the registration for as long as the process lives, with no last try.
//
// Life: Prepare, ClusterID and GenerateBrokerID are called at start, in this
// order. Then a Registrar: Register once, whose error ends the start, then Run,
// which compares the znode with what was written every second and after each
// change of the session, tells OnLost when it is gone or not ours, and registers
// again. The czxid of the znode is the broker's epoch.
//
// A registration that an earlier process of the same broker left behind is
// replaced only when all of this proves that its owner is dead (coordination,
// "Replacing one's own stale registration"): the caller holds the lock file of
// every log directory; each directory's record names the session that owns the
// znode, this machine and the same lock file; and no endpoint in the znode is
// answered by anybody else. With it goes the /controller of the same session.
// Without proof the old session is waited for.
package registration
