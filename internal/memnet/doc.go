// Package memnet is a network in memory, for whole clusters in one process under
// testing/synctest: all waiting is on condition variables and timers, so that a
// bubble's clock runs on while everybody waits.
//
// A Network has hosts, by IP address. Sockets belong to a Process on a host, and
// end with it: Process.Kill does what the kernel does for a killed process
// (listeners refuse, connections break), Host.Down what a power failure does
// (nothing answers, and nobody is told; after Host.Up, who sends on an old
// connection gets a reset).
//
// Between each two hosts, in each direction, lies a link, which delays and can be
// cut: what was sent on a cut link waits, as TCP would send it again, and arrives
// when the link is whole; dialing waits too. Connections keep the order of their
// bytes and lose none while both ends live.
//
// Nothing here reads a global clock or random source but time.Now and the source
// that New is given.
package memnet
