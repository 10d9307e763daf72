//go:build integration

package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// insideNetwork tells the test binary that it runs in namespaces of its own.
const insideNetwork = "BARNABAS_INSIDE_NETWORK"

// inNetwork runs the test again in a network and a mount namespace of its own,
// with the rights of root there, and says whether this is that run. What such a
// run makes (bridges, firewalls, disks) ends with it.
func inNetwork(t *testing.T, limit time.Duration) bool {
	t.Helper()
	if os.Getenv(insideNetwork) != "" {
		return true
	}
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin") // users don't have them
	for _, tool := range []string{"unshare", "nsenter", "ip", "nft", "tc"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("scripts/test-setup installs what this needs: %v", err)
		}
	}
	enter := []string{"--net", "--mount", "--propagation", "private"}
	if os.Getuid() != 0 {
		enter = append(enter, "--user", "--map-root-user")
	}
	if r := run(t, "", "unshare", append(enter, "true")...); r.err != nil {
		t.Fatalf("this needs network namespaces: run it as root, or allow them to users (kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0): unshare: %v: %s", r.err, r.stderr)
	}
	cmd := exec.Command("unshare", append(enter, os.Args[0], "-test.v", "-test.run=^"+t.Name()+"$", "-test.timeout="+limit.String())...)
	cmd.Env = append(os.Environ(), insideNetwork+"=1", "BARNABAS_BINARY="+binary)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("in the network: %v", err)
	}
	t.Logf("\n%s", out)
	return false
}

// network is a bridge with a host on each port. The test itself is on it too,
// as 10.77.0.254.
type network struct {
	t     *testing.T
	netem bool // the kernel can delay packets
}

// host is a network namespace with one address.
type host struct {
	n          *network
	name, addr string
}

func newNetwork(t *testing.T) *network {
	n := &network{t: t}
	must(t, "", "mount", "-t", "tmpfs", "none", "/run") // ip keeps namespaces there
	must(t, "", "ip", "link", "set", "lo", "up")
	must(t, "", "ip", "link", "add", "bridge", "type", "bridge", "forward_delay", "0")
	must(t, "", "ip", "address", "add", "10.77.0.254/24", "dev", "bridge")
	must(t, "", "ip", "link", "set", "bridge", "up")
	return n
}

func (n *network) host(number int) *host {
	h := &host{n, fmt.Sprint("host", number), fmt.Sprint("10.77.0.", number)}
	must(n.t, "", "ip", "netns", "add", h.name)
	port := fmt.Sprint("port", number)
	must(n.t, "", "ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", h.name)
	must(n.t, "", "ip", "link", "set", port, "master", "bridge", "up")
	h.run("ip", "link", "set", "lo", "up")
	h.run("ip", "address", "add", h.addr+"/24", "dev", "eth0")
	h.run("ip", "link", "set", "eth0", "up")
	if number == 1 {
		n.netem = run(n.t, "", h.within()[0], append(h.within()[1:], "tc", "qdisc", "add", "dev", "eth0", "root", "netem", "delay", "1ms")...).err == nil
		h.fast()
	}
	return h
}

// within is the command that runs another on the host.
func (h *host) within() []string { return []string{"nsenter", "--net=/run/netns/" + h.name, "--"} }

func (h *host) run(command ...string) {
	h.n.t.Helper()
	args := append(h.within(), command...)
	must(h.n.t, "", args[0], args[1:]...)
}

// firewall sets the rules for what comes in from and what goes out to others.
func (h *host) firewall(in, out []string) {
	h.n.t.Helper()
	args := append(h.within(), "nft", "-f", "-")
	must(h.n.t, fmt.Sprintf(`table inet faults
delete table inet faults
table inet faults {
	chain in {
		type filter hook input priority 0
		iif lo accept
		%s
	}
	chain out {
		type filter hook output priority 0
		oif lo accept
		%s
	}
}
`, strings.Join(in, "\n\t\t"), strings.Join(out, "\n\t\t")), args[0], args[1:]...)
}

// whole ends all that was done to the network of the host.
func (h *host) whole() {
	h.n.t.Helper()
	h.firewall(nil, nil)
	h.fast()
}

// deaf drops what comes from others; mute what goes to them.
func (h *host) deaf(others ...*host) { h.firewall(drops("saddr", others), nil) }
func (h *host) mute(others ...*host) { h.firewall(nil, drops("daddr", others)) }

// cut drops both.
func (h *host) cut(others ...*host) { h.firewall(drops("saddr", others), drops("daddr", others)) }

func drops(which string, others []*host) (rules []string) {
	for _, o := range others {
		rules = append(rules, fmt.Sprintf("ip %s %s drop", which, o.addr))
	}
	return rules
}

// slow makes the line of the host bad: packets take 80 to 120 ms longer, or where
// the kernel can't do that they queue for up to half a second before 300 kbit/s.
func (h *host) slow() {
	h.n.t.Helper()
	if h.n.netem {
		h.run("tc", "qdisc", "replace", "dev", "eth0", "root", "netem", "delay", "100ms", "20ms")
		return
	}
	h.run("tc", "qdisc", "replace", "dev", "eth0", "root", "tbf", "rate", "300kbit", "burst", "3000", "latency", "500ms")
}

func (h *host) fast() {
	args := append(h.within(), "tc", "qdisc", "delete", "dev", "eth0", "root")
	run(h.n.t, "", args[0], args[1:]...) // fails if it is fast
}

// disk mounts a file system of its own for a host and gives its path.
func (n *network) disk(bytes int) string {
	n.t.Helper()
	dir := filepath.Join(n.t.TempDir(), "disk")
	if err := os.Mkdir(dir, 0o755); err != nil {
		n.t.Fatal(err)
	}
	must(n.t, "", "mount", "-t", "tmpfs", "-o", fmt.Sprint("size=", bytes), "none", dir)
	n.t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			n.t.Errorf("umount %s: %v: %s", dir, err, out)
		}
	})
	return dir
}
