package log

import (
	"bytes"
	"fmt"
	"log/slog"
	"path"
	"strings"
	"testing"
	"time"

	"barnabas/internal/vfs"
	"barnabas/log/batch"
)

// aged is a log on the real file system whose segments have one batch each, with
// the given ages of records (negative: dated in the future), replicated, flushed.
func aged(t *testing.T, o Options, logger *slog.Logger, ages ...time.Duration) *Log {
	t.Helper()
	o.SegmentBytes = 100
	l := openTest(t, vfs.OS, o, func(oo *OpenOptions) { oo.Dir, oo.Logger = path.Join(t.TempDir(), "t-0"), logger })
	for _, age := range ages {
		b := batch.NewBuilder(batch.BuilderOptions{})
		b.Append(time.Now().Add(-age).UnixMilli(), []byte("k"), make([]byte, 30))
		recs, err := b.Bytes()
		must(t, err)
		_, err = l.AppendAsLeader(recs, 1, Client)
		must(t, err)
	}
	l.SetHighWatermark(l.EndOffset())
	must(t, l.Flush())
	if l.Segments() != len(ages) {
		t.Fatalf("%d segments for %d ages", l.Segments(), len(ages))
	}
	return l
}

// touch sets the age of a segment's file.
func touch(t *testing.T, l *Log, base int64, age time.Duration) {
	t.Helper()
	must(t, vfs.OS.Chtimes(path.Join(l.Dir(), fileName(base, logSuffix)), time.Now().Add(-age)))
}

// TestRetention on real segments: which go, for ages, sizes and limits; the same
// after a restart.
func TestRetention(t *testing.T) {
	const day = 24 * time.Hour
	var size int64 // of a segment
	probe := aged(t, DefaultOptions(), nil, 0)
	size = probe.Size()
	must(t, probe.Close())
	for _, c := range []struct {
		name       string
		ages       []time.Duration
		age        time.Duration
		bytes      int64
		fileAges   map[int64]time.Duration
		highest    int64 // high watermark, 0: the end
		startAt    int64 // records deleted below
		want       int   // segments deleted
		wantOldest int64
	}{
		{name: "young", ages: []time.Duration{6 * day, 5 * day, 0}, age: 7 * day, bytes: -1, want: 0},
		{name: "time", ages: []time.Duration{9 * day, 8 * day, 6 * day, 0}, age: 7 * day, bytes: -1, want: 2, wantOldest: 2},
		{name: "old file, young records", ages: []time.Duration{day, 0}, age: 7 * day, bytes: -1, fileAges: map[int64]time.Duration{0: 30 * day}, want: 0},
		{name: "no limit", ages: []time.Duration{900 * day, 0}, age: -1, bytes: -1, want: 0},
		{name: "a young one before old ones", ages: []time.Duration{day, 9 * day, 9 * day, 0}, age: 7 * day, bytes: -1, want: 0},
		{name: "all, also the active one", ages: []time.Duration{9 * day, 9 * day}, age: 7 * day, bytes: -1, want: 2, wantOldest: 2},
		{name: "size", ages: []time.Duration{0, 0, 0, 0}, age: -1, bytes: 2 * size, want: 2, wantOldest: 2},
		{name: "size between segments", ages: []time.Duration{0, 0, 0, 0}, age: -1, bytes: 2*size + 1, want: 1, wantOldest: 1},
		{name: "time and size", ages: []time.Duration{9 * day, 0, 0, 0}, age: 7 * day, bytes: 2 * size, want: 2, wantOldest: 2},
		{name: "not replicated", ages: []time.Duration{9 * day, 9 * day, 9 * day}, age: 7 * day, bytes: 0, highest: 1, want: 1, wantOldest: 1},
		{name: "below the start", ages: []time.Duration{0, 0, 0}, age: -1, bytes: -1, startAt: 2, want: 2, wantOldest: 2},
		{name: "future record, young file", ages: []time.Duration{-9 * day, 0}, age: 7 * day, bytes: -1, want: 0},
		{name: "future record, old file", ages: []time.Duration{-3000 * day, 8 * day, 0}, age: 7 * day, bytes: -1, fileAges: map[int64]time.Duration{0: 8 * day}, want: 2, wantOldest: 2},
	} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/restart=%v", c.name, restart), func(t *testing.T) {
				o := DefaultOptions()
				o.RetentionAge, o.RetentionBytes = c.age, c.bytes
				l := aged(t, o, nil, c.ages...)
				if restart {
					o.SegmentBytes = 100
					must(t, l.Close())
					l = openTest(t, vfs.OS, o, func(oo *OpenOptions) { oo.Dir = l.Dir() })
					l.SetHighWatermark(l.EndOffset())
				}
				for base, age := range c.fileAges {
					touch(t, l, base, age)
				}
				if c.highest > 0 {
					l.ResetHighWatermark(c.highest)
				}
				must(t, l.IncrementStartOffset(c.startAt))
				n, err := l.Retain(time.Now())
				if err != nil || n != c.want || l.StartOffset() != c.wantOldest {
					t.Errorf("%d segments deleted, start %d, want %d and %d: %v", n, l.StartOffset(), c.want, c.wantOldest, err)
				}
				checkRetained(t, l)
			})
		}
	}
}

// checkRetained looks at what retention left: all of it readable, and no file of
// what went once its delay is over.
func checkRetained(t *testing.T, l *Log) {
	t.Helper()
	if n, err := l.Retain(time.Now()); err != nil || n > 0 {
		t.Errorf("a second retention deletes %d more: %v", n, err)
	}
	if _, records := readAll(t, l, 1000); int64(len(records)) != l.EndOffset()-l.StartOffset() {
		t.Errorf("%d records are left between %d and %d", len(records), l.StartOffset(), l.EndOffset())
	}
	must(t, l.emptyTrash(time.Now().Add(time.Hour)))
	names, err := vfs.OS.List(l.Dir())
	must(t, err)
	for _, name := range names {
		if base, _, ok := parseFileName(name); ok && (base < l.StartOffset() || strings.HasSuffix(name, deletedSuffix)) {
			t.Errorf("%s is left below %d", name, l.StartOffset())
		}
	}
	must(t, l.Close())
}

// TestRecordOfAClockThatIsAhead: nothing is said of a record that is dated some
// seconds after the retention began.
func TestRecordOfAClockThatIsAhead(t *testing.T) {
	var text bytes.Buffer
	l := aged(t, DefaultOptions(), slog.New(slog.NewTextHandler(&text, nil)), -10*time.Second, 0)
	if n, err := l.Retain(time.Now()); n != 0 || err != nil || text.Len() > 0 {
		t.Errorf("%d segments deleted, %v, told: %s", n, err, &text)
	}
	must(t, l.Close())
}

// TestFutureRecordIsNamed: the segment and the record that would block retention
// are told, once (KAFKA-18929).
func TestFutureRecordIsNamed(t *testing.T) {
	var text bytes.Buffer
	l := aged(t, DefaultOptions(), slog.New(slog.NewTextHandler(&text, nil)), -time.Hour, 0)
	for range 3 {
		_, err := l.Retain(time.Now())
		must(t, err)
	}
	if got := text.String(); strings.Count(got, "dated in the future") != 1 || !strings.Contains(got, fileName(0, logSuffix)) || !strings.Contains(got, "offset=0") {
		t.Errorf("told: %s", got)
	}
	must(t, l.Close())
}
