// Package zktest runs a test twice: on devzk and on a real ZooKeeper, so that
// what is learned from the fake holds for the real one. The real one is
// Debian's package, one process for each test binary; each test gets a chroot
// of its own.
package zktest
