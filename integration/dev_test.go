//go:build integration

package integration

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"barnabas/internal/testaddr"
	"barnabas/internal/testproc"
	"barnabas/internal/zktest"
)

// devServer is a `barnabas dev` in a directory of its own.
type devServer struct {
	t        testing.TB
	dir      string
	addr, zk string
	proc     *testproc.Process
}

func newDev(t testing.TB) *devServer {
	d := &devServer{t: t, dir: t.TempDir(), addr: testaddr.Reserve(t), zk: testaddr.Reserve(t)}
	t.Cleanup(func() {
		if d.proc == nil {
			return
		}
		d.proc.Kill()
		if t.Failed() {
			t.Logf("output of barnabas dev:\n%s", d.proc.Output())
		}
	})
	return d
}

func port(addr string) string {
	_, p, _ := net.SplitHostPort(addr)
	return p
}

func (d *devServer) command(args ...string) *exec.Cmd {
	cmd := exec.Command(binary, append([]string{"dev", "--host", "127.0.0.1", "--port", port(d.addr), "--zookeeper-port", port(d.zk)}, args...)...)
	cmd.Dir = d.dir
	return cmd
}

// start runs it until a client can produce and consume; it gives the time that
// this took.
func (d *devServer) start(args ...string) time.Duration {
	d.t.Helper()
	begin := time.Now()
	p, err := testproc.Start(d.command(args...), filepath.Join(d.dir, "output"))
	if err != nil {
		d.t.Fatal(err)
	}
	d.proc = p
	b := &broker{t: d.t, addr: d.addr, proc: p}
	b.awaitReady(patience)
	return time.Since(begin)
}

func (d *devServer) interrupt() {
	d.t.Helper()
	if err := d.proc.Stop(syscall.SIGINT, patience); err != nil {
		d.t.Fatalf("Ctrl-C: %v", err)
	}
}

func (d *devServer) produce(topic string, lines []string) {
	d.t.Helper()
	must(d.t, text(lines), "kcat", "-P", "-b", d.addr, "-t", topic, "-X", "message.timeout.ms=120000")
}

func (d *devServer) consume(topic string) string {
	d.t.Helper()
	return must(d.t, "", "kcat", "-C", "-b", d.addr, "-t", topic, "-o", "beginning", "-e", "-q")
}

// TestDevKeepsDataOverRestartsAndKills: all in one process, stopped by Ctrl-C
// and by SIGKILL; what was written is there again.
func TestDevKeepsDataOverRestartsAndKills(t *testing.T) {
	d := newDev(t)
	t.Logf("first start: %v", d.start().Round(time.Millisecond))
	lines := numbered("dev", 100)
	d.produce("t", lines)
	wantLines(t, "at first", d.consume("t"), lines)
	c := zktest.Dial(t, d.zk)
	id, _, err := c.Get("/cluster/id")
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	d.interrupt()
	if _, err := os.Stat(filepath.Join(d.dir, "barnabas-data")); err != nil {
		t.Fatal(err)
	}

	t.Logf("second start: %v", d.start().Round(time.Millisecond))
	wantLines(t, "after Ctrl-C", d.consume("t"), lines)
	more := numbered("more", 50)
	d.produce("t", more)
	d.proc.Kill()

	t.Logf("start after kill -9: %v", d.start().Round(time.Millisecond))
	wantLines(t, "after kill -9", d.consume("t"), append(lines, more...))
	c = zktest.Dial(t, d.zk)
	if again, _, err := c.Get("/cluster/id"); err != nil || string(again) != string(id) {
		t.Errorf("cluster id %s, %v; it was %s", again, err, id)
	}
	if got := zkCLI(t, d.zk, "ls", "/brokers/topics"); !strings.Contains(got, "t") {
		t.Errorf("zkCli shows the topics %s", got)
	}
	d.interrupt()
}

// TestDevSaysWhichPortIsTaken and which flag changes it.
func TestDevSaysWhichPortIsTaken(t *testing.T) {
	for flag, take := range map[string]func(*devServer) string{
		"--port":           func(d *devServer) string { return d.addr },
		"--zookeeper-port": func(d *devServer) string { return d.zk },
	} {
		t.Run(flag, func(t *testing.T) {
			d := newDev(t)
			l, err := net.Listen("tcp", take(d))
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			out, err := d.command("--ephemeral").CombinedOutput()
			if err == nil || !strings.Contains(string(out), flag) || !strings.Contains(string(out), port(take(d))) {
				t.Fatalf("%v: %s", err, out)
			}
		})
	}
}

// TestDevEphemeralLeavesNothing behind.
func TestDevEphemeralLeavesNothing(t *testing.T) {
	d := newDev(t)
	d.start("--ephemeral")
	d.produce("t", numbered("x", 10))
	d.interrupt()
	names, err := os.ReadDir(d.dir)
	if err != nil || len(names) != 1 || names[0].Name() != "output" {
		t.Fatalf("left behind: %v, %v", names, err)
	}
}
