package broker_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestAlterReplicaLogDirs moves a log between directories by a client's requests, in
// each version: what is refused, what is no move, what is shown while one is under way,
// and that going back ends it.
func TestAlterReplicaLogDirs(t *testing.T) {
	const rate, partition = "replica.alter.log.dirs.io.max.bytes.per.second", 1
	dirs := []string{t.TempDir(), t.TempDir()}
	n := start(t, map[string]string{"log.dirs": strings.Join(dirs, ","), "log.segment.bytes": "1000000"})
	n.create("t", 2)
	cl, err := kgo.NewClient(kgo.SeedBrokers(n.addr()), kgo.DefaultProduceTopic("t"), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"t": {partition: kgo.NewOffset().AtStart()}}))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	const records = 24 // more than is copied in one go
	for i := range records {
		value := fmt.Appendf(make([]byte, 0, 500_000), "%d ", i)
		if err := cl.ProduceSync(ctx, &kgo.Record{Partition: partition, Value: value[:cap(value)]}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	adm := kadm.NewClient(cl)
	throttle := func(bytes string) {
		t.Helper()
		if _, err := adm.AlterBrokerConfigs(ctx, []kadm.AlterConfig{{Name: rate, Value: &bytes}}, 1); err != nil {
			t.Fatal(err)
		}
		n.await("the throttle", func() bool {
			got, err := adm.DescribeBrokerConfigs(ctx, 1)
			return err == nil && slices.ContainsFunc(got[0].Configs, func(c kadm.Config) bool { return c.Key == rate && c.MaybeValue() == bytes })
		})
	}
	throttle("1000")
	fast := false // a copy may be complete and not in the log's place yet
	// shown is where the partition's replicas are, those to come with a +.
	shown := func() (out []string) {
		t.Helper()
		all, err := adm.DescribeBrokerLogDirs(ctx, 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		all.EachPartition(func(p kadm.DescribedLogDirPartition) {
			if p.Topic != "t" || p.Partition != partition {
				return
			}
			name := fmt.Sprint(slices.Index(dirs, p.Dir))
			if p.IsFuture {
				if name += "+"; p.OffsetLag <= 0 && !fast || p.OffsetLag > records {
					t.Errorf("the future replica is %d records behind", p.OffsetLag)
				}
			} else if p.OffsetLag != 0 {
				t.Errorf("the replica is %d records behind", p.OffsetLag)
			}
			out = append(out, name)
		})
		slices.Sort(out)
		return out
	}
	at := shown()
	if len(at) != 1 || len(at[0]) != 1 {
		t.Fatalf("at first: %v", at)
	}
	here, there := int(at[0][0]-'0'), 1-int(at[0][0]-'0')
	while := func(what string, want ...string) {
		t.Helper()
		if got := shown(); !slices.Equal(got, want) {
			t.Errorf("%s: in %v, want %v", what, got, want)
		}
	}
	stays, moves := []string{fmt.Sprint(here)}, []string{fmt.Sprint(here), fmt.Sprint(there) + "+"}
	slices.Sort(moves)

	c := n.dial()
	// move asks for one move and for what is refused beside it.
	move := func(version int16, dir string) int16 {
		t.Helper()
		req := kmsg.NewPtrAlterReplicaLogDirsRequest()
		for _, d := range []struct {
			dir, topic string
			partition  int32
		}{{dir, "t", partition}, {"/nowhere", "t", 0}, {dir, "t", 7}, {dir, "no such", 0}} {
			rt := kmsg.NewAlterReplicaLogDirsRequestDirTopic()
			rt.Topic, rt.Partitions = d.topic, []int32{d.partition}
			rd := kmsg.NewAlterReplicaLogDirsRequestDir()
			rd.Dir, rd.Topics = d.dir, append(rd.Topics, rt)
			req.Dirs = append(req.Dirs, rd)
		}
		got := map[string]int16{}
		for _, rt := range c.do(req, version).(*kmsg.AlterReplicaLogDirsResponse).Topics {
			for _, p := range rt.Partitions {
				got[fmt.Sprintf("%s-%d", rt.Topic, p.Partition)] = p.ErrorCode
			}
		}
		const unknownPartition, logDirNotFound = 3, 57
		if len(got) != 4 || got["t-0"] != logDirNotFound || got["t-7"] != unknownPartition || got["no such-0"] != unknownPartition {
			t.Errorf("version %d: %v", version, got)
		}
		return got[fmt.Sprintf("t-%d", partition)]
	}
	for version := range int16(3) {
		for _, step := range []struct {
			what string
			dir  string
			want []string
		}{
			{"to where it is", dirs[here], stays},
			{"to the other", dirs[there], moves},
			{"the same again", dirs[there], moves},
			{"back", dirs[here], stays},
		} {
			if code := move(version, step.dir); code != 0 {
				t.Errorf("version %d, %s: code %d", version, step.what, code)
			}
			while(fmt.Sprintf("version %d, %s", version, step.what), step.want...)
		}
	}

	// And to the end, at full speed.
	if code := move(2, dirs[there]); code != 0 {
		t.Errorf("code %d", code)
	}
	while("again", moves...)
	fast = true
	throttle("1000000000")
	n.await("the move", func() bool { return slices.Equal(shown(), []string{fmt.Sprint(there)}) })
	for next := 0; next < records; {
		f := cl.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatal(err)
		}
		f.EachRecord(func(r *kgo.Record) {
			if !strings.HasPrefix(string(r.Value[:10]), fmt.Sprintf("%d ", next)) || r.Offset != int64(next) {
				t.Fatalf("record %d is %q", next, r.Value[:10])
			}
			next++
		})
	}
	if left, err := filepath.Glob(filepath.Join(dirs[here], "t-1*")); err != nil || slices.ContainsFunc(left, func(s string) bool { return !strings.HasSuffix(s, "-delete") }) {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if _, err := os.Stat(filepath.Join(dirs[there], "t-1")); err != nil {
		t.Error(err)
	}
}
