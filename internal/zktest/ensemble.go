package zktest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"barnabas/internal/testaddr"
	"barnabas/internal/testproc"
)

// Ensemble is a real ZooKeeper of several servers that one test has for itself.
type Ensemble struct {
	t     testing.TB
	java  string
	dir   string
	addrs []string
	procs []*testproc.Process // nil while killed
}

// NewEnsemble starts n servers; they end with the test.
func NewEnsemble(t testing.TB, n int) *Ensemble {
	t.Helper()
	java, err := findJava()
	if err != nil {
		t.Fatal(err)
	}
	e := &Ensemble{t: t, java: java, dir: t.TempDir(), procs: make([]*testproc.Process, n)}
	var servers []string
	for i := range n {
		e.addrs = append(e.addrs, testaddr.Reserve(t))
		peers := testaddr.Reserve(t)
		_, electionPort, _ := net.SplitHostPort(testaddr.Reserve(t))
		servers = append(servers, fmt.Sprintf("server.%d=%s:%s", i+1, peers, electionPort))
	}
	for i, addr := range e.addrs {
		dir := filepath.Join(e.dir, fmt.Sprint(i))
		if err := os.MkdirAll(filepath.Join(dir, "data"), 0o755); err != nil {
			t.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(addr)
		lines := append([]string{
			"tickTime=200", "initLimit=50", "syncLimit=20", "minSessionTimeout=400", "maxSessionTimeout=60000",
			"dataDir=" + filepath.Join(dir, "data"), "clientPort=" + port, "clientPortAddress=127.0.0.1",
			"admin.enableServer=false", "4lw.commands.whitelist=*", "maxClientCnxns=0",
		}, servers...)
		for name, text := range map[string]string{"zoo.cfg": strings.Join(lines, "\n") + "\n", "data/myid": fmt.Sprintln(i + 1)} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		e.launch(i)
	}
	t.Cleanup(func() {
		for _, p := range e.procs {
			if p != nil {
				p.Kill()
			}
		}
	})
	for i := range n {
		e.await(i)
	}
	return e
}

func (e *Ensemble) launch(i int) {
	e.t.Helper()
	dir := filepath.Join(e.dir, fmt.Sprint(i))
	cmd := exec.Command(e.java, "-Xmx128m", "-XX:TieredStopAtLevel=1", "-Dzookeeper.forceSync=no", "-Dzookeeper.preAllocSize=1024",
		"-cp", zookeeperJar+string(os.PathListSeparator)+loggerJar,
		"org.apache.zookeeper.server.quorum.QuorumPeerMain", filepath.Join(dir, "zoo.cfg"))
	p, err := testproc.Start(cmd, filepath.Join(dir, "log"))
	if err != nil {
		e.t.Fatal(err)
	}
	e.procs[i] = p
}

// await waits until a server takes sessions.
func (e *Ensemble) await(i int) {
	e.t.Helper()
	if err := e.procs[i].Await(time.Minute, func() error { _, err := modeOf(e.addrs[i]); return err }); err != nil {
		e.t.Fatalf("zktest: server %d of an ensemble: %v\n%s", i, err, e.procs[i].Output())
	}
}

// Addr is the connect string of all servers, without chroot.
func (e *Ensemble) Addr() string { return strings.Join(e.addrs, ",") }

// Leader is the number of the server that leads, -1 if none does now.
func (e *Ensemble) Leader() int {
	for i, addr := range e.addrs {
		if mode, err := modeOf(addr); err == nil && mode == "leader" {
			return i
		}
	}
	return -1
}

// Kill ends a server by SIGKILL; Restart starts it again and waits until it
// serves.
func (e *Ensemble) Kill(i int) {
	e.procs[i].Kill()
	e.procs[i] = nil
}

// Restart starts a killed server again.
func (e *Ensemble) Restart(i int) {
	e.t.Helper()
	e.launch(i)
	e.await(i)
}

// modeOf asks a server that takes sessions what it is.
func modeOf(addr string) (string, error) {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Second))
	if _, err := io.WriteString(c, "srvr"); err != nil {
		return "", err
	}
	b, err := io.ReadAll(io.LimitReader(c, 64<<10))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		if mode, ok := strings.CutPrefix(line, "Mode: "); ok {
			return strings.TrimSpace(mode), nil
		}
	}
	return "", errors.New("srvr: " + string(b))
}
