// Package detector finds out that the process of a broker is dead before its
// ZooKeeper session ends: it takes what one observer saw of the others and says
// what to try next and, in the end, what to do. It has no I/O, no goroutine and
// no clock of its own: each observation comes with its time, so a test hands it
// values and compares values.
//
// Evidence (docs/coordination.md §7), all of it, in the same registration:
//
//   - the registration allows it (FastDeath);
//   - an established connection of ours ended by the other side: FIN or RST, not
//     by us and not by a time-out;
//   - twice after that, 50 ms apart, every address of the registration refused a
//     dial. An answer clears all; silence proves nothing and begins anew;
//   - with three live brokers or more another one saw the same.
//
// A paused process, a full accept queue, a cut cable or a machine without power
// refuse nothing: they wait for ZooKeeper, as ever. What looks dead and is not,
// behind a firewall that rejects, loses nothing, but limits keep its harm small:
// one declared death in ten seconds, no more than a third of the cluster, and
// a process that comes back is exempt for ten minutes, twice as long each time. A
// verdict after which another process came in its place was right, and counts for
// none of these.
//
// Verdicts are the present controller's: it declares a broker dead. If the
// controller itself looks dead, each standby deposes it, and the next one
// declares its death.
package detector
