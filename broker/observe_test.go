package broker

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"barnabas/conf"
	"barnabas/internal/vfs"
	"barnabas/zkpaths/devzk"
)

// begin starts a ZooKeeper and a broker that is looked at by HTTP.
func begin(t *testing.T) (*Broker, *devzk.Server) {
	t.Helper()
	zk, err := devzk.Start(devzk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { zk.Close() })
	c, _, err := conf.FromMap(map[string]string{
		"broker.id": "1", "zookeeper.connect": zk.Addr(), "listeners": "PLAINTEXT://127.0.0.1:0", "log.dirs": "/data",
		"barnabas.http.listen": "127.0.0.1:0", "zookeeper.connection.timeout.ms": "60000",
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := Start(t.Context(), Options{Config: c, Logger: slog.New(slog.DiscardHandler), FS: vfs.NewMem(), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b, zk
}

func ask(t *testing.T, b *Broker, path string) (int, string) {
	t.Helper()
	return fetch(t, "http://"+b.HTTPAddr().String()+path)
}

func fetch(t *testing.T, url string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// until asks a path until its answer has the code and the text.
func until(t *testing.T, b *Broker, path string, code int, text string) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for {
		c, body := ask(t, b, path)
		if c == code && strings.Contains(body, text) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: no %d with %q, but %d:\n%s", path, code, text, c, body)
		}
	}
}

// TestHealthWithoutZooKeeper: a broker whose ZooKeeper is gone is neither dead
// nor unready, and says what is lost.
func TestHealthWithoutZooKeeper(t *testing.T) {
	b, zk := begin(t)
	until(t, b, "/readyz", 200, "registered  broker 1, epoch")
	until(t, b, "/startupz", 200, "started, in")
	until(t, b, "/livez", 200, "ok    controller  turned")
	if err := zk.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, b, "/readyz", 200, "zookeeper   coordination lost for")
	until(t, b, "/livez", 200, "alive\n")
}

// TestDeadPartsShow: what can't go on is red.
func TestDeadPartsShow(t *testing.T) {
	b, _ := begin(t)
	until(t, b, "/livez", 200, "alive\n")
	b.control.Pulse().End()
	until(t, b, "/livez", 503, "FAIL  controller  ended")
}

// TestMetricsAreDocumented compares the page with docs/metrics.md, both ways, and
// looks for series and families that stand twice.
func TestMetricsAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)`").FindAllSubmatch(doc, -1) {
		told = append(told, string(m[1]))
	}
	b, _ := begin(t)
	until(t, b, "/metrics", 200, "kafka_controller_kafkacontroller_activecontrollercount 1\n")
	_, page := ask(t, b, "/metrics?partitions=1")
	var found []string
	series := map[string]bool{}
	for s := bufio.NewScanner(strings.NewReader(page)); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), "# TYPE "); ok {
			name, _, _ := strings.Cut(rest, " ")
			if !strings.HasSuffix(name, "persec") { // the second name of a _total
				found = append(found, name)
			}
			continue
		}
		id := s.Text()[:max(strings.LastIndexByte(s.Text(), ' '), 0)]
		if series[id] {
			t.Errorf("%s stands twice", id)
		}
		series[id] = !strings.HasPrefix(id, "#")
	}
	if regexp.MustCompile(`(?m)^kafka_server_zookeeperclientmetrics_zookeeperrequestlatencyms_count 0$`).MatchString(page) {
		t.Error("no request to ZooKeeper was counted")
	}
	slices.Sort(found)
	if d := slices.Compact(slices.Clone(found)); len(d) != len(found) {
		t.Error("a family stands twice")
	}
	for _, name := range found {
		if !slices.Contains(told, name) {
			t.Errorf("%s is not in docs/metrics.md", name)
		}
	}
	for _, name := range told {
		if !slices.Contains(found, name) {
			t.Errorf("docs/metrics.md has %s, the page has not", name)
		}
	}
}

// TestProbesDuringRecovery: the health listener answers while a log directory
// takes its time, and no probe is told to kill the broker.
func TestProbesDuringRecovery(t *testing.T) {
	c, _, err := conf.FromMap(map[string]string{
		"broker.id": "1", "zookeeper.connect": "127.0.0.1:1", "listeners": "PLAINTEXT://127.0.0.1:0", "log.dirs": "/data",
		"barnabas.http.listen": "127.0.0.1:0",
	})
	if err != nil {
		t.Fatal(err)
	}
	addrs, release := make(chan string, 2), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := Start(ctx, Options{
			Config: c, Logger: slog.New(slog.DiscardHandler),
			FS: vfs.NewFailing(vfs.NewMem(), func(vfs.Op) error { <-release; return nil }),
			Listen: func(network, addr string) (net.Listener, error) {
				l, err := net.Listen(network, addr)
				if err == nil {
					addrs <- l.Addr().String()
				}
				return l, err
			},
		})
		ended <- err
	}()
	first := <-addrs
	<-addrs // the broker's own
	get := func(path string) (int, string) { return fetch(t, "http://"+first+path) }
	for stage := ""; !strings.Contains(stage, "opening the log directories"); {
		_, stage = get("/startupz")
	}
	for path, want := range map[string]int{"/startupz": 200, "/livez": 200, "/readyz": 503, "/metrics": 200} {
		if code, body := get(path); code != want {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	cancel()
	close(release)
	if err := <-ended; err == nil {
		t.Error("started without ZooKeeper")
	}
}
