//go:build integration

package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
)

// placement tells in which directory each partition of a topic is, and how many
// copies are being made.
func placement(t *testing.T, adm *kadm.Client, topic string) (at map[int32]string, copies int, err error) {
	t.Helper()
	all, err := adm.DescribeBrokerLogDirs(t.Context(), 1, nil)
	if err != nil {
		return nil, 0, err
	}
	at = map[int32]string{}
	all.EachPartition(func(p kadm.DescribedLogDirPartition) {
		switch {
		case p.Topic != topic:
		case p.IsFuture:
			copies++
		default:
			at[p.Partition] = p.Dir
		}
	})
	return at, copies, nil
}

// awaitPlacement waits until all partitions of a topic are in a directory.
func awaitPlacement(t *testing.T, b *broker, adm *kadm.Client, topic, dir string, partitions int) {
	t.Helper()
	eventually(t, patience, "all of "+topic+" in "+dir, func() error {
		at, copies, err := placement(t, adm, topic)
		if err != nil || copies > 0 || len(at) != partitions {
			return fmt.Errorf("%v, %d copies, %v", at, copies, err)
		}
		for p, where := range at {
			if where != dir {
				return fmt.Errorf("partition %d is in %s", p, where)
			}
		}
		return nil
	})
}

// TestMoveBetweenDirectories moves logs to and fro under load, kills the broker on
// the way, and lets Apache Kafka's kafka-reassign-partitions do it by "log_dirs".
func TestMoveBetweenDirectories(t *testing.T) {
	dirs := []string{t.TempDir(), t.TempDir()}
	b := newBroker(t, "log.dirs="+strings.Join(dirs, ","), "log.segment.bytes=100000")
	createTopic(t, b, "load", 4)
	l := startLoad(b, "load", 4)
	l.progress(t, 500, patience, "at first")
	adm := kadm.NewClient(b.client())
	move := func(dir string) {
		t.Helper()
		var req kadm.AlterReplicaLogDirsReq
		var set kadm.TopicsSet
		set.Add("load", 0, 1, 2, 3)
		req.Add(dir, set)
		eventually(t, patience, "the move to begin", func() error {
			resp, err := adm.AlterAllReplicaLogDirs(t.Context(), req)
			if err != nil {
				return err
			}
			resp.Each(func(r kadm.AlterReplicaLogDirsResponse) {
				if r.Err != nil {
					err = r.Err
				}
			})
			return err
		})
	}
	for n := range 6 {
		dir := dirs[n%2]
		move(dir)
		if n%3 == 2 { // in the middle, if it is quick
			b.proc.Kill()
			b.start()
			b.awaitReady(patience)
			l.progress(t, 100, patience, "after a kill")
			move(dir) // one that had not begun
		}
		awaitPlacement(t, b, adm, "load", dir, 4)
		l.progress(t, 100, patience, "after a move")
	}

	var parts []string
	for p := range 4 {
		parts = append(parts, fmt.Sprintf(`{"topic":"load","partition":%d,"replicas":[1],"log_dirs":[%q]}`, p, dirs[0]))
	}
	plan := filepath.Join(t.TempDir(), "plan.json")
	if err := os.WriteFile(plan, []byte(`{"version":1,"partitions":[`+strings.Join(parts, ",")+`]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	const tool = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand"
	java(t, "", tool, "--bootstrap-server", b.addr, "--reassignment-json-file", plan, "--execute", "--replica-alter-log-dirs-throttle", "100000000")
	awaitPlacement(t, b, adm, "load", dirs[0], 4)
	out := java(t, "", tool, "--bootstrap-server", b.addr, "--reassignment-json-file", plan, "--verify")
	if n := strings.Count(out, "completed successfully"); n != 4 {
		t.Errorf("%d of 4 moves completed:\n%s", n, out)
	}
	l.end(t, b, "load", 4)

	var names []string
	for _, dir := range dirs {
		found, err := filepath.Glob(filepath.Join(dir, "load-*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			if !strings.HasSuffix(f, "-delete") {
				names = append(names, filepath.Base(f))
			}
		}
	}
	if slices.Sort(names); !slices.Equal(names, []string{"load-0", "load-1", "load-2", "load-3"}) {
		t.Errorf("on disk: %v", names)
	}
}
