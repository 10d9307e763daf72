package log

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"barnabas/internal/vfs"
	"barnabas/log/batch"
	"barnabas/log/cleaner"
)

// walkLog is a log of batches of three records whose places are known.
type walkLog struct {
	t       testing.TB
	fs      *vfs.Mem
	l       *Log
	batches []walkPlace
}

type walkPlace struct {
	file string
	pos  int64
	data []byte
}

// newWalkLog makes a log of n batches; with small segments it has many, with index
// entries, else one without.
func newWalkLog(t testing.TB, n int, small bool) *walkLog {
	w := &walkLog{t: t, fs: vfs.NewMem()}
	o := DefaultOptions()
	if small {
		o = testOptions()
	}
	w.l = openTest(t, w.fs, o, nil)
	t.Cleanup(func() { w.l.Close() })
	for i := range n {
		appendTest(t, w.l, 3, fmt.Sprintf("value%d-", i))
	}
	for _, s := range w.l.segments {
		sc := newScanner(s.file, 0, s.size.Load(), nil)
		for {
			h, pos, err := sc.next()
			if err != nil {
				break
			}
			b, err := sc.whole(&h, pos)
			if err != nil {
				t.Fatal(err)
			}
			w.batches = append(w.batches, walkPlace{s.path, pos, append([]byte(nil), b...)})
		}
	}
	if len(w.batches) != n || small != (len(w.l.segments) > 2) {
		t.Fatalf("%d batches in %d segments", len(w.batches), len(w.l.segments))
	}
	return w
}

// damage writes the ith batch, changed, over what is in the file.
func (w *walkLog) damage(i int, change func(b []byte)) {
	w.t.Helper()
	p := w.batches[i]
	change(p.data)
	f, err := w.fs.OpenReadWrite(p.file)
	if err == nil {
		_, err = f.WriteAt(p.data, p.pos)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// walk returns the numbers of the batches that a walk gives, and the damage that it
// tells of.
func (w *walkLog) walk() (given []int, damage []Damage) {
	w.t.Helper()
	k := w.l.NewWalk(0, func(d Damage) { damage = append(damage, d) })
	for pieces := 0; ; pieces++ {
		more, err := k.Piece(func(b []byte) error {
			number := -1
			for r, err := range batch.Records(b, nil) {
				if err != nil || !batch.CheckCRC(b) {
					w.t.Fatalf("given %x, %v", b, err)
				}
				if _, err := fmt.Sscanf(string(r.Value), "value%d-", &number); err != nil {
					w.t.Fatalf("given %q, %v", r.Value, err)
				}
			}
			given = append(given, number)
			return nil
		})
		if err != nil {
			w.t.Fatal(err)
		}
		if !more {
			return given, damage
		}
		if pieces > 1000 {
			w.t.Fatal("the walk has no end")
		}
	}
}

func setLength(n int32) func([]byte) {
	return func(b []byte) { binary.BigEndian.PutUint32(b[8:], uint32(n)) }
}

func setBase(o int64) func([]byte) { return func(b []byte) { batch.SetOffset(b, o) } }

// TestWalkGoesOnAfterDamage: what is damaged costs its own offsets, whatever of it is.
func TestWalkGoesOnAfterDamage(t *testing.T) {
	const n, at = 40, 17
	size := int32(len(newWalkLog(t, n, false).batches[at].data))
	for _, c := range []struct {
		name   string
		change func(b []byte)
		lost   []int  // batches, by number
		says   string // of the error
	}{
		{"a record", func(b []byte) { b[len(b)-2] ^= 1 }, []int{at}, "CRC"},
		{"the checksum", func(b []byte) { b[17] ^= 1 }, []int{at}, "CRC"},
		{"bad magic", func(b []byte) { b[16] = 9 }, []int{at}, "magic 9"},
		{"the magic of an old message", func(b []byte) { b[16] = 1 }, []int{at}, ""},
		{"a negative length", setLength(-1), []int{at}, "length -1"},
		{"a length that is too small", setLength(60), []int{at}, ""},
		{"a length that swallows the next batch", setLength(2*size - 12), []int{at}, "CRC"},
		{"a length that ends within the next batch", setLength(size + 20), []int{at}, "CRC"},
		{"a length beyond the segment", setLength(1 << 30), []int{at}, "bytes of 1073741836"},
		{"the largest length", setLength(1<<31 - 13), []int{at}, ""},
		{"zeros", func(b []byte) { clear(b) }, []int{at}, ""},
		{"a negative base offset", setBase(-5), []int{at}, "base offset -5"},
		{"a last offset delta that lies", func(b []byte) { binary.BigEndian.PutUint32(b[23:], 1<<30) }, []int{at}, "CRC"},
		{"another batch put there", func(b []byte) { clear(b[12:]) }, []int{at}, ""},
	} {
		for _, small := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, small segments %v", c.name, small), func(t *testing.T) {
				w := newWalkLog(t, n, small)
				w.damage(at, c.change)
				given, damage := w.walk()
				w.check(given, damage, n, c.lost, c.says)
			})
		}
	}
}

// check wants all batches but the lost ones, and one damage that tells of these.
func (w *walkLog) check(given []int, damage []Damage, n int, lost []int, says string) {
	w.t.Helper()
	missing := map[int]bool{}
	for _, i := range lost {
		missing[i] = true
	}
	for i, next := 0, 0; i < n; i++ {
		if missing[i] {
			continue
		}
		if next >= len(given) || given[next] != i {
			w.t.Fatalf("given %v, lost %v of %d", given, lost, n)
		}
		next++
	}
	if len(given) != n-len(lost) {
		w.t.Fatalf("given %v, lost %v of %d", given, lost, n)
	}
	if len(damage) != 1 {
		w.t.Fatalf("told of %+v", damage)
	}
	d, p := damage[0], w.batches[lost[0]]
	from, to := int64(lost[0])*3, int64(lost[len(lost)-1])*3+2
	if d.File != p.file || d.Position != p.pos || d.From != from || d.To != to || !strings.Contains(d.Err.Error(), says) {
		w.t.Errorf("told of %+v, want offsets %d to %d in %s at %d: %s", d, from, to, p.file, p.pos, says)
	}
	if last := w.batches[lost[len(lost)-1]]; d.Next != last.pos+int64(len(last.data)) {
		w.t.Errorf("went on at %d, want %d", d.Next, last.pos+int64(len(last.data)))
	}
}

// TestWalkOverMuchDamage: zeros over many batches, with index entries within or not,
// up to the end of a segment, and over whole segments.
func TestWalkOverMuchDamage(t *testing.T) {
	const n = 40
	for _, small := range []bool{false, true} {
		for _, count := range []int{2, 5, 20} {
			w := newWalkLog(t, n, small)
			for i := range count {
				w.damage(10+i, func(b []byte) { clear(b) })
			}
			given, damage := w.walk()
			lost := int64(0)
			for _, d := range damage {
				lost += d.To - d.From + 1
			}
			if len(given) != n-count || given[10] != 10+count || lost != int64(3*count) {
				t.Errorf("%d of %d, small segments %v: given %v, told of %+v", count, n, small, given, damage)
			}
		}
	}
}

func TestWalkOverTheLastBatch(t *testing.T) {
	for _, small := range []bool{false, true} {
		w := newWalkLog(t, 20, small)
		w.damage(19, setLength(1<<20))
		given, damage := w.walk()
		w.check(given, damage, 20, []int{19}, "bytes of")
	}
}

// TestWalkMendsOffsets: the checksum does not cover the base offset; a batch that is
// whole is given although its offset lies, and nothing behind it is lost.
func TestWalkMendsOffsets(t *testing.T) {
	for _, base := range []int64{0, 6, 45, 3 * 17 / 2, 117, 120, 1 << 40} {
		for _, small := range []bool{false, true} {
			w := newWalkLog(t, 40, small)
			w.damage(17, setBase(base))
			given, damage := w.walk()
			count := map[int]int{}
			for _, i := range given {
				count[i]++
			}
			for i := range 40 {
				if i != 17 && count[i] == 0 || len(given) != 40 {
					t.Fatalf("base offset %d, small segments %v: given %v, told of %+v", base, small, given, damage)
				}
			}
			if len(damage) != 1 {
				t.Errorf("base offset %d, small segments %v: told of %+v", base, small, damage)
			}
		}
	}
}

// TestWalkLeavesOutOldBlocks: batches that were written long before are not given
// again where they stand in the place of later ones.
func TestWalkLeavesOutOldBlocks(t *testing.T) {
	w := newWalkLog(t, 9, false)
	old, size := w.batches[2].data, len(w.batches[6].data)
	for i := 5; i < 7; i++ {
		if len(w.batches[i].data) != size || len(old) != size {
			t.Fatal("batches of different sizes")
		}
		w.damage(i, func(b []byte) { copy(b, old) })
	}
	given, damage := w.walk()
	lost := int64(0)
	for _, d := range damage {
		lost += d.To - d.From + 1
	}
	if !slices.Equal(given, []int{0, 1, 2, 3, 4, 7, 8}) || lost != 6 {
		t.Errorf("given %v, told of %+v", given, damage)
	}
}

// TestWalkTakesNoRecordForABatch: a batch within a record is not one of the log,
// though what holds it is damaged.
func TestWalkTakesNoRecordForABatch(t *testing.T) {
	fs := vfs.NewMem()
	l := openTest(t, fs, DefaultOptions(), nil)
	defer l.Close()
	forged := makeBatch(t, 1, "forged", nil, false)
	appendTest(t, l, 1, "first")
	b := batch.NewBuilder(batch.BuilderOptions{})
	batch.SetOffset(forged, 1)
	b.Append(1, nil, forged)
	b.Append(2, nil, []byte("more"))
	data, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.AppendAsLeader(data, 1, Client); err != nil {
		t.Fatal(err)
	}
	at := l.segments[0].size.Load() - int64(len(data))
	appendTest(t, l, 1, "last")
	w := &walkLog{t: t, fs: fs, l: l, batches: []walkPlace{{l.segments[0].path, at, data}}}
	w.damage(0, func(b []byte) { b[16] = 7 })
	var values []string
	k := l.NewWalk(0, func(Damage) {})
	if _, err := k.Piece(func(b []byte) error {
		for r, err := range batch.Records(b, nil) {
			if err != nil {
				t.Fatal(err)
			}
			values = append(values, string(r.Value))
		}
		return nil
	}); err != nil || strings.Join(values, " ") != "first0 last0" {
		t.Errorf("given %q, %v", values, err)
	}
}

// TestWalkLargeBatches: a walk from within a log, in pieces that batches do not fit.
func TestWalkLargeBatches(t *testing.T) {
	fs := vfs.NewMem()
	l := openTest(t, fs, DefaultOptions(), nil)
	defer l.Close()
	const n = 6
	for i := range n {
		appendTest(t, l, 1, strings.Repeat("x", 900<<10)+fmt.Sprint(i))
	}
	given := 0
	k := l.NewWalk(2, func(d Damage) { t.Errorf("told of %+v", d) })
	for more := true; more; {
		var err error
		if more, err = k.Piece(func(b []byte) error { given++; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if given != n-2 || k.Offset() != n {
		t.Errorf("given %d, at %d", given, k.Offset())
	}
}

// TestWalkWhileCompacted: compaction may put another segment into the place of the one
// that a walk is in.
func TestWalkWhileCompacted(t *testing.T) {
	o := compacting()
	o.SegmentBytes = 4 << 20
	l := openTest(t, newDisk(t), o, nil)
	defer l.Close()
	const n = 14
	for i := range n {
		appendKeyed(t, l, fmt.Sprint("k", i%3), fmt.Sprint(i, strings.Repeat("x", 700<<10)))
	}
	var given []int
	k := l.NewWalk(0, func(d Damage) { t.Errorf("told of %+v", d) })
	for more, pieces := true, 0; more; pieces++ {
		var err error
		more, err = k.Piece(func(b []byte) error {
			h, err := batch.ParseHeader(b)
			given = append(given, int(h.BaseOffset))
			return err
		})
		must(t, err)
		if pieces == 1 {
			c, err := l.Compact(t.Context(), CompactOptions{Map: cleaner.NewMap(1<<20, 0.9), Now: time.Now()})
			must(t, err)
			if len(given) == 0 || len(given) >= n/2 || c.FirstDirty < n/2 {
				t.Fatalf("compacted to %d after %v", c.FirstDirty, given)
			}
		}
	}
	if !slices.IsSorted(given) || len(slices.Compact(slices.Clone(given))) != len(given) || !slices.Equal(given[len(given)-3:], []int{n - 3, n - 2, n - 1}) {
		t.Errorf("given %v", given)
	}
}

// FuzzWalk: whatever bytes are in a segment, a walk ends, and gives whole batches,
// each at most once.
func FuzzWalk(f *testing.F) {
	const fuzzed = 20
	f.Add(uint16(0), []byte{}, false)
	f.Add(uint16(100), []byte{0, 0, 0, 9, 9, 9, 2}, false)
	f.Add(uint16(8), []byte{0, 0, 0, 200}, true)
	f.Add(uint16(300), make([]byte, 700), true)
	f.Fuzz(func(t *testing.T, at uint16, junk []byte, small bool) {
		w := newWalkLog(t, fuzzed, small)
		p := w.batches[int(at)%fuzzed]
		f, err := w.fs.OpenReadWrite(p.file)
		if err != nil {
			t.Fatal(err)
		}
		size, err := f.Size()
		if err == nil {
			pos := (p.pos + int64(at/fuzzed)) % size
			_, err = f.WriteAt(junk[:min(int64(len(junk)), size-pos)], pos)
		}
		if err = errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		given, damage := w.walk()
		once := map[int]bool{}
		for _, i := range given {
			if once[i] {
				t.Errorf("given %v, told of %+v", given, damage)
			}
			once[i] = true
		}
	})
}
