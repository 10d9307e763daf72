package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/brokertest"
)

// TestWorkloads runs everything that needs no crash, small, against two clusters
// in this process, whose process id is that of both.
func TestWorkloads(t *testing.T) {
	pid := filepath.Join(t.TempDir(), "pid")
	if err := os.WriteFile(pid, fmt.Append(nil, os.Getpid(), "\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var sides []*side
	for _, name := range []string{"one", "two"} {
		c := brokertest.Start(t, brokertest.Config("group.initial.rebalance.delay.ms", "0"), brokertest.Config("log.cleaner.backoff.ms", "20"),
			brokertest.Config("offsets.topic.num.partitions", "5"))
		sides = append(sides, &side{name: name, addr: c.Addrs()[0], pidFile: pid})
	}
	var log bytes.Buffer
	b := &bench{committers: 4, commitsEach: 5, members: 5, rebalances: 3, groups: 40, joins: 2, compactMiB: 2, compactKeys: 20, rest: 100 * time.Millisecond, log: &log}
	var chosen []workload
	for _, w := range b.workloads() {
		if w.name != "reload" {
			chosen = append(chosen, w)
		}
	}
	found, err := b.all(sides, chosen, 2)
	if err != nil {
		t.Fatal(err, "\n", log.String())
	}
	var out bytes.Buffer
	if err := table(&out, sides, found); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "\n"); n != 2+3+2+2+3 || strings.Contains(out.String(), "NaN") {
		t.Errorf("the table has %d lines:\n%s", n, out.String())
	}
	for i := range found {
		for _, f := range found[i] {
			// 20 keys of 1 KiB, and the record behind them.
			if f.unit == "MB afterwards" && (f.value < 0.02 || f.value > 0.03) {
				t.Errorf("after compaction there are %v MB", f.value)
			}
		}
	}

	// What the reload asks for is there now, and would be missed.
	req, want, err := b.fetchAll(sides[0])
	if err != nil || len(req.Groups) != 5 {
		t.Fatal(err, len(req.Groups))
	}
	w, err := dial(sides[0].addr)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	resp, err := w.call(req, 8, callTimeout)
	if err != nil {
		t.Fatal(err)
	}
	answer := resp.(*kmsg.OffsetFetchResponse)
	if loaded, err := judge(answer, want); !loaded || err != nil {
		t.Errorf("judged as %v, %v", loaded, err)
	}
	answer.Groups[2].Topics[0].Partitions[7].Offset++
	if loaded, err := judge(answer, want); loaded || err == nil {
		t.Error("a wrong offset is not seen")
	}
	answer.Groups[1].ErrorCode = 14 // COORDINATOR_LOAD_IN_PROGRESS
	if loaded, err := judge(answer, want); loaded || err != nil {
		t.Errorf("loading is judged as %v, %v", loaded, err)
	}
}

func TestRunRefuses(t *testing.T) {
	for _, args := range [][]string{
		{},
		{"--a", "h:1"},
		{"--a", "h:1", "--b", "h:2"}, // reload needs processes
		{"--a", "h:1", "--b", "h:2", "--only", "commit"},
	} {
		if err := run(args, &bytes.Buffer{}, &bytes.Buffer{}); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}

func TestParseStat(t *testing.T) {
	got, err := parseStat([]byte("7 (a b) c) S 1 2 3 4 5 6 7 8 9 10 150 25 0 0"))
	if err != nil || got != 1750*time.Millisecond {
		t.Error(got, err)
	}
	if _, err := parseStat([]byte("7 (x) S 1")); err == nil {
		t.Error("a short line gives no error")
	}
}

func TestJavaHash(t *testing.T) {
	if p := javaHash("test-group") % 50; p != 12 {
		t.Errorf("test-group is in partition %d", p)
	}
}

func TestTable(t *testing.T) {
	var out bytes.Buffer
	a := []figure{{"w", "x/s", 1, more}, {"w", "x/s", 2, more}, {"w", "x/s", 9, more}, {"w", "ms", 6, less}}
	b := []figure{{"w", "x/s", 5, more}, {"w", "x/s", 8, more}, {"w", "x/s", 3, more}, {"w", "ms", 2, less}}
	if err := table(&out, []*side{{name: "A"}, {name: "B"}}, [2][]figure{a, b}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| 2.00 | 5.00 | 2.50x | 0.33 to 5.00 |", "| 6.00 | 2.00 | 3.00x | 3.00 to 3.00 |"} {
		if !strings.Contains(strings.Join(strings.Fields(out.String()), " "), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}
