//go:build integration

package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"barnabas/internal/testaddr"
	"barnabas/internal/testproc"
	"barnabas/internal/zktest"
)

// binary is the program under test, built once, or what BARNABAS_BINARY names.
// (A script that runs kafka.Kafka for "server FILE" lets Apache Kafka itself
// take most of these tests.)
var binary = os.Getenv("BARNABAS_BINARY")

func TestMain(m *testing.M) {
	if binary != "" {
		os.Exit(m.Run())
	}
	dir, err := testproc.SharedDir("barnabas-integration")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = filepath.Join(dir, "barnabas")
	build := exec.Command("go", "build", "-o", binary, "..")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// patience is how long something may take that a test waits for: far longer than
// it does, since only what hangs shall meet it.
const patience = 2 * time.Minute

// eventually asks until there is no error, and fails the test at the limit.
func eventually(t testing.TB, limit time.Duration, what string, ask func() error) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(limit)
	for {
		err := ask()
		if err == nil {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("%s: not after %v: %v", what, limit, err)
		case <-tick.C:
		}
	}
}

// broker is a `barnabas server` of this test. Its address and its files stay the
// same over restarts.
type broker struct {
	t     testing.TB
	addr  string   // of its only listener, as clients know it
	zk    string   // connect string, with chroot
	dir   string   // holds data/, server.properties and output
	props string   // path of server.properties
	under []string // a command that runs it, such as one that enters a namespace
	proc  *testproc.Process
}

// newBroker prepares broker 1 of a cluster of its own on the real ZooKeeper and
// starts it. lines are added to its server.properties.
func newBroker(t testing.TB, lines ...string) *broker {
	t.Helper()
	b := prepareBroker(t, zktest.Chroot(t, zktest.Real(t)), lines...)
	b.start()
	b.awaitReady(patience)
	return b
}

// prepareBroker writes the files of broker 1 on a ZooKeeper, and starts nothing.
func prepareBroker(t testing.TB, connect string, lines ...string) *broker {
	t.Helper()
	b := &broker{t: t, addr: testaddr.Reserve(t), zk: connect, dir: t.TempDir()}
	b.props = filepath.Join(b.dir, "server.properties")
	text := append([]string{
		"broker.id=1",
		"listeners=PLAINTEXT://" + b.addr,
		"log.dirs=" + filepath.Join(b.dir, "data"),
		"zookeeper.connect=" + b.zk,
		"zookeeper.session.timeout.ms=6000",
		"zookeeper.connection.timeout.ms=60000",
		"offsets.topic.replication.factor=1",
		"offsets.topic.num.partitions=5",
		"transaction.state.log.replication.factor=1",
		"transaction.state.log.min.isr=1",
		"group.initial.rebalance.delay.ms=0",
	}, lines...)
	if err := os.WriteFile(b.props, []byte(strings.Join(text, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if b.proc == nil {
			return
		}
		b.proc.Kill()
		if t.Failed() {
			t.Logf("output of the broker:\n%s", b.proc.Output())
		}
	})
	return b
}

// start runs the process and does not wait for it to be ready.
func (b *broker) start() {
	b.t.Helper()
	args := append(slices.Clone(b.under), binary, "server", b.props)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = b.dir
	p, err := testproc.Start(cmd, filepath.Join(b.dir, "output"))
	if err != nil {
		b.t.Fatal(err)
	}
	b.proc = p
}

// awaitReady returns when the broker answers and knows a controller.
func (b *broker) awaitReady(limit time.Duration) {
	b.t.Helper()
	client := b.client(kgo.RetryTimeout(time.Second), kgo.DialTimeout(time.Second))
	defer client.Close()
	err := b.proc.Await(limit, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		return client.Ping(ctx)
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// stop ends the broker as an operator would, and wants it to end well.
func (b *broker) stop() {
	b.t.Helper()
	if err := b.proc.Stop(syscall.SIGTERM, patience); err != nil {
		b.t.Fatalf("SIGTERM: %v", err)
	}
}

// client is a franz-go client that ends with the test. A connection that a stopping
// broker has just accepted is no sign of TLS to it.
func (b *broker) client(opts ...kgo.Opt) *kgo.Client {
	b.t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(b.addr), kgo.AlwaysRetryEOF()}, opts...)...)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(c.Close)
	return c
}

// result is how a command ended.
type result struct {
	stdout, stderr string
	err            error
}

// run runs a command to its end, at most for two minutes.
func run(t testing.TB, stdin string, name string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	if ctx.Err() != nil {
		err = errors.Join(err, errors.New("it took more than two minutes"))
	}
	return result{out.String(), errs.String(), err}
}

// must is run for what has to succeed; it gives what was printed.
func must(t testing.TB, stdin string, name string, args ...string) string {
	t.Helper()
	r := run(t, stdin, name, args...)
	if r.err != nil {
		t.Fatalf("%s %s: %v\nstdout:\n%s\nstderr:\n%s", name, strings.Join(args, " "), r.err, r.stdout, r.stderr)
	}
	return r.stdout
}

// barnabas runs a command of the binary.
func barnabas(t testing.TB, stdin string, args ...string) string {
	t.Helper()
	return must(t, stdin, binary, args...)
}

// java runs a main class of Apache Kafka, which has to succeed.
func java(t testing.TB, stdin string, class string, args ...string) string {
	t.Helper()
	return must(t, stdin, "java", javaArgs(t, class, args)...)
}

// runJava is java for what may fail.
func runJava(t testing.TB, stdin string, class string, args ...string) result {
	t.Helper()
	return run(t, stdin, "java", javaArgs(t, class, args)...)
}

func javaArgs(t testing.TB, class string, args []string) []string {
	t.Helper()
	cache, err := os.UserCacheDir() // honours XDG_CACHE_HOME
	if err != nil {
		t.Fatal(err)
	}
	jars := filepath.Join(cache, "barnabas-test", "kafka-3.9.2")
	if _, err := os.Stat(jars); err != nil {
		t.Fatalf("Apache Kafka's jars are not there, run scripts/test-setup: %v", err)
	}
	log4j, err := filepath.Abs("testdata/log4j.properties")
	if err != nil {
		t.Fatal(err)
	}
	return append([]string{"-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j.configuration=file:" + log4j,
		"-cp", filepath.Join(jars, "*"), class}, args...)
}

// zkCLI runs one command of ZooKeeper's own shell and gives what it printed
// after connecting.
func zkCLI(t testing.TB, addr string, command ...string) string {
	t.Helper()
	r := run(t, "", "bash", append([]string{"/usr/share/zookeeper/bin/zkCli.sh", "-server", addr}, command...)...)
	if r.err != nil {
		t.Fatalf("zkCli.sh %v: %v\n%s%s", command, r.err, r.stdout, r.stderr)
	}
	var kept []string
	for line := range strings.Lines(r.stdout + r.stderr) {
		line = strings.TrimSpace(line)
		switch {
		case line == "", strings.HasPrefix(line, "Connecting to"), strings.HasPrefix(line, "WATCHER::"),
			strings.HasPrefix(line, "WatchedEvent"), strings.Contains(line, "log4j"), strings.Contains(line, "SLF4J"):
		default:
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "\n")
}
