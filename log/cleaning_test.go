package log

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
	"barnabas/log/batch"
	"barnabas/log/cleaner"
)

// harmed is a batch of two records with a right checksum, of which harm has changed
// the second: its bytes from the offset delta on.
func harmed(t *testing.T, base int64, keys [2]string, harm func(offsetDelta []byte)) []byte {
	t.Helper()
	b := batch.NewBuilder(batch.BuilderOptions{})
	for _, k := range keys {
		b.Append(time.Now().UnixMilli(), []byte(k), []byte("harmed"))
	}
	recs, err := b.Bytes()
	must(t, err)
	second := bytes.LastIndex(recs, []byte(keys[1])) - 2 // before it: offset delta and length of the key
	harm(recs[second:])
	batch.SetOffset(recs, base)
	binary.BigEndian.PutUint32(recs[17:], crc32.Checksum(recs[21:], crc32.MakeTable(crc32.Castagnoli)))
	return recs
}

// cutKey makes the length of the key absurd: the record can't be read.
func cutKey(b []byte) { b[1] = 0x7e }

// lie makes the offset one behind the batch.
func lie(b []byte) { b[0] = 126 } // 63, zig-zag

// TestUnreadBatchSupersedesNothing: what half a batch says, or one that claims offsets
// that are not its own, does not remove what can be read.
func TestUnreadBatchSupersedesNothing(t *testing.T) {
	for name, harm := range map[string]func([]byte){"unreadable": cutKey, "offset of another": lie} {
		l := openTest(t, newDisk(t), compacting(), nil)
		appendKeyed(t, l, "k", "readable")
		appendKeyed(t, l, "l", "readable")
		_, err := l.AppendAsFollower(harmed(t, 2, [2]string{"k", "l"}, harm))
		must(t, err)
		appendKeyed(t, l, "l", "last") // at 4, below the 65 that is claimed
		for i := range 100 {
			appendKeyed(t, l, "m", fmt.Sprint(i))
		}
		done, err := l.Compact(context.Background(), CompactOptions{Map: cleaner.NewMap(1<<20, 0.9), Now: time.Now()})
		must(t, err)
		if done.Unread != 1 || done.FirstUnread != 2 || done.RecordsKept >= done.RecordsRead || done.FirstDirty > l.EndOffset() {
			t.Errorf("%s: %+v", name, done)
		}
		r, err := l.Read(0, 1<<20, l.EndOffset(), true)
		must(t, err)
		data := make([]byte, r.Range.Length)
		_, err = r.Range.File.ReadAt(data, r.Range.Offset)
		must(t, err)
		r.Range.Release()
		kept := map[string]bool{}
		for len(data) > 0 {
			_, b, rest, err := batch.Next(data)
			if err != nil {
				break
			}
			data = rest
			for rec, err := range batch.Records(b, nil) {
				if err == nil {
					kept[fmt.Sprintf("%s=%s", rec.Key, rec.Value)] = true
				}
			}
		}
		if !kept["k=readable"] || !kept["l=last"] {
			t.Errorf("%s: kept %v", name, kept)
		}
	}
}

// TestCleanerGoesOn: a damaged partition counts as uncleanable and is named, and the
// others are compacted; of one with a batch that can't be read, the rest is.
func TestCleanerGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		var logged bytes.Buffer
		m := mustManager(t, fs, func(mo *ManagerOptions) {
			mo.Dirs, mo.Defaults = []string{"/a"}, compacting()
			mo.Logger = slog.New(slog.NewTextHandler(&logged, nil))
		})
		const wrongCRC, unread, good = 0, 1, 2
		var logs [3]*Log
		for n := range logs {
			l, err := m.GetOrCreate(part(n), kafka.NewTopicID(), true)
			must(t, err)
			if n == unread {
				_, err := l.AppendAsFollower(harmed(t, 0, [2]string{"k", "l"}, cutKey))
				must(t, err)
			}
			for i := range 200 {
				appendKeyed(t, l, fmt.Sprint("k", i%3), fmt.Sprint(i))
			}
			logs[n] = l
		}
		f, err := fs.OpenReadWrite(logs[wrongCRC].segments[1].path)
		must(t, err)
		_, err = f.WriteAt([]byte{0xff}, 70)
		must(t, err)
		m.SetCleaner(CleanerOptions{Threads: 1, DedupeBytes: 1 << 20, IOBytes: 1 << 20, LoadFactor: 0.9, Backoff: time.Second})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- m.Run(ctx) }()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		st := m.CleanerStats()
		if len(st.Uncleanable) != 2 || !isCorrupt(st.Uncleanable[part(wrongCRC)]) ||
			!strings.Contains(fmt.Sprint(st.Uncleanable[part(unread)]), "the first at offset 0") ||
			st.UncleanableBytes != logs[wrongCRC].Size()+logs[unread].Size() {
			t.Errorf("%+v", st)
		}
		whole := logs[wrongCRC].Size()
		for _, n := range []int{unread, good} {
			if now := logs[n].Size(); now > whole/2 {
				t.Errorf("partition %d has %d bytes, the one that is left out %d", n, now, whole)
			}
		}
		for _, said := range []string{"can't be compacted any more", "can't be compacted as a whole"} {
			if n := strings.Count(logged.String(), said); n != 1 {
				t.Errorf("%q was said %d times:\n%s", said, n, logged.String())
			}
		}
		// Made anew, it is no longer damaged.
		must(t, m.Delete(part(wrongCRC), "test"))
		must(t, m.Delete(part(unread), "test"))
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if st := m.CleanerStats(); len(st.Uncleanable) != 0 || st.UncleanableBytes != 0 {
			t.Errorf("after the deletion: %+v", st)
		}
		stop()
		must(t, <-ended)
		must(t, m.Close())
	})
}

// TestCompactAndDelete: of a topic with both policies old segments go, also while they
// are being compacted, and of what is younger the last of each key stays.
func TestCompactAndDelete(t *testing.T) {
	for _, when := range []string{"before", "meanwhile", "after"} {
		t.Run(when, func(t *testing.T) {
			mem, o := newDisk(t), compacting()
			o.Delete, o.RetentionAge = true, time.Hour
			l := openTest(t, mem, o, nil)
			now := time.Now()
			put := func(key string, i int, at time.Time) {
				b := batch.NewBuilder(batch.BuilderOptions{})
				b.Append(at.UnixMilli(), []byte(key), fmt.Append(nil, i))
				recs, err := b.Bytes()
				must(t, err)
				_, err = l.AppendAsLeader(recs, 1, Client)
				must(t, err)
			}
			const old, young = 100, 100
			for i := range old {
				put(fmt.Sprint("old", i), i, now.Add(-2*time.Hour))
			}
			for i := range young {
				put(fmt.Sprint("young", i%7), i, now)
			}
			l.SetHighWatermark(l.EndOffset())
			retain := func() {
				t.Helper()
				n, err := l.Retain(now)
				must(t, err)
				if start := l.StartOffset(); n == 0 || start < old/2 || start > old+young/2 { // one segment has both
					t.Errorf("%d segments deleted, the log begins at %d", n, start)
				}
			}
			var read, kept int64
			compact := func(spend func(context.Context, int) error) {
				t.Helper()
				done, err := l.Compact(context.Background(), CompactOptions{Map: cleaner.NewMap(1<<20, 0.9), Now: now, Spend: spend})
				must(t, err)
				read, kept = read+done.RecordsRead, kept+done.RecordsKept
			}
			switch when {
			case "before":
				retain()
			case "meanwhile":
				pieces := 0
				compact(func(context.Context, int) error {
					if pieces++; pieces == 3 {
						retain()
					}
					return nil
				})
				if pieces < 4 {
					t.Fatalf("%d pieces", pieces)
				}
			}
			compact(nil)
			if when == "after" {
				retain()
			}
			check := func() {
				t.Helper()
				got := committed(t, l)
				for k := range 7 {
					last := (young-1-k)/7*7 + k
					if key := fmt.Sprint("young", k); got[key] != fmt.Sprint(last) {
						t.Errorf("%s is %q, want %d", key, got[key], last)
					}
				}
				if l.StartOffset() < old/2 || l.EndOffset() != old+young {
					t.Errorf("%d to %d: %v", l.StartOffset(), l.EndOffset(), got)
				}
			}
			check()
			if kept == 0 || kept > read*3/4 {
				t.Errorf("%d records kept of %d", kept, read)
			}
			start := l.StartOffset()
			must(t, l.Close())
			l = openTest(t, mem, o, func(o *OpenOptions) { o.Clean, o.Holes, o.StartOffset = false, true, start })
			l.SetHighWatermark(l.EndOffset())
			check()
		})
	}
}
