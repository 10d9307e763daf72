//go:build integration

package integration

import (
	"strings"
	"testing"

	"barnabas/internal/zktest"
	"barnabas/zkpaths/devzk"
)

// TestZkCliWorksOnDevzk: ZooKeeper's own shell does not see the difference.
func TestZkCliWorksOnDevzk(t *testing.T) {
	addr := zktest.DevZK(t, devzk.Options{}).Addr()
	contains := func(got string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("no %q in:\n%s", w, got)
			}
		}
	}
	contains(zkCLI(t, addr, "create", "/a", "hello"), "Created /a")
	contains(zkCLI(t, addr, "create", "-s", "/a/n-", "x"), "Created /a/n-0000000000")
	contains(zkCLI(t, addr, "get", "-s", "/a"), "hello", "dataVersion = 0", "cversion = 1", "dataLength = 5", "numChildren = 1", "ephemeralOwner = 0x0")
	zkCLI(t, addr, "set", "/a", "again")
	contains(zkCLI(t, addr, "get", "-s", "/a"), "again", "dataVersion = 1")
	contains(zkCLI(t, addr, "ls", "-R", "/"), "/\n/a\n/zookeeper\n/a/n-0000000000\n/zookeeper/config\n/zookeeper/quota")
	contains(zkCLI(t, addr, "getAcl", "/a"), "'world,'anyone", "cdrwa")
	contains(zkCLI(t, addr, "getAllChildrenNumber", "/a"), "1")
	zkCLI(t, addr, "delete", "/a/n-0000000000")
	zkCLI(t, addr, "deleteall", "/a")
	if got := zkCLI(t, addr, "ls", "/"); got != "[zookeeper]" {
		t.Errorf("ls / at the end: %q", got)
	}
}
