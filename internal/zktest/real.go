package zktest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"barnabas/internal/testaddr"
	"barnabas/internal/testproc"
)

// Debian's jars; the first names all that it needs in its manifest.
const (
	zookeeperJar = "/usr/share/java/zookeeper.jar"
	loggerJar    = "/usr/share/java/slf4j-simple.jar"
)

// shared is the one real ZooKeeper of this test binary.
var shared = sync.OnceValues(startReal)

// Real gives the address, without chroot, of the real ZooKeeper that this test
// binary shares, and starts it if need be. It ends with the binary.
func Real(t testing.TB) string {
	t.Helper()
	r, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return r.addr
}

type realServer struct {
	addr  string
	dir   string
	under []string // a command that runs Java, if any
	proc  *testproc.Process
}

// findJava gives Java's path, and an error that helps if it or ZooKeeper is
// missing.
func findJava() (string, error) {
	java, err := exec.LookPath("java")
	if err != nil {
		return "", errors.New("zktest: no java: install Debian's default-jre-headless, or run with -short")
	}
	if _, err := os.Stat(zookeeperJar); err != nil {
		return "", errors.New("zktest: no ZooKeeper: install Debian's package zookeeper, or run with -short")
	}
	return java, nil
}

func startReal() (*realServer, error) {
	java, err := findJava()
	if err != nil {
		return nil, err
	}
	dir, err := testproc.SharedDir("barnabas-zookeeper")
	if err != nil {
		return nil, err
	}
	addr, _, err := testaddr.Hold()
	if err != nil {
		return nil, err
	}
	return launch(java, dir, addr)
}

// launch starts a server on an address, by the command under if there is one.
func launch(java, dir, addr string, under ...string) (*realServer, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	r := &realServer{addr: addr, dir: dir, under: under}
	lines := []string{
		"tickTime=200", "minSessionTimeout=400", "maxSessionTimeout=60000",
		"dataDir=" + filepath.Join(dir, "data"), "clientPort=" + port, "clientPortAddress=" + host,
		"admin.enableServer=false", "4lw.commands.whitelist=*", "maxClientCnxns=0",
	}
	if err := os.WriteFile(filepath.Join(dir, "zoo.cfg"), []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		return nil, err
	}
	return r, r.run(java)
}

// run starts the process on what is in dir, and waits until it serves.
func (r *realServer) run(java string) error {
	args := slices.Concat(r.under, []string{java, "-Xmx256m", "-XX:TieredStopAtLevel=1",
		"-Dzookeeper.forceSync=no", "-Dzookeeper.preAllocSize=1024",
		"-cp", zookeeperJar + string(os.PathListSeparator) + loggerJar,
		"org.apache.zookeeper.server.quorum.QuorumPeerMain", filepath.Join(r.dir, "zoo.cfg")})
	cmd := exec.Command(args[0], args[1:]...)
	p, err := testproc.Start(cmd, filepath.Join(r.dir, "log"))
	if err != nil {
		return err
	}
	if err := p.Await(time.Minute, func() error { return askOK(r.addr) }); err != nil {
		p.Kill()
		return fmt.Errorf("zktest: real ZooKeeper: %w\n%s", err, p.Output())
	}
	r.proc = p
	return nil
}

// askOK wants the answer to srvr that only a server gives that takes sessions;
// ruok is answered before.
func askOK(addr string) error {
	mode, err := modeOf(addr)
	if err == nil && mode != "standalone" {
		err = errors.New("mode " + mode)
	}
	return err
}
