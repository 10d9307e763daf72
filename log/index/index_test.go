package index_test

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"path"
	"strconv"
	"strings"
	"testing"

	"barnabas/internal/golden"
	"barnabas/internal/vfs"
	"barnabas/log/batch"
	"barnabas/log/index"
)

func options(fs vfs.FS, name string) index.Options {
	base, _ := strconv.ParseInt(strings.SplitN(path.Base(name), ".", 2)[0], 10, 64)
	return index.Options{FS: fs, Name: name, BaseOffset: base}
}

func content(t *testing.T, fs vfs.FS, name string) string {
	t.Helper()
	b, err := vfs.ReadFile(fs, name, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestGoldenIndexes reads every index that Kafka wrote, checks each entry against
// the segment, and writes it again, byte by byte.
func TestGoldenIndexes(t *testing.T) {
	entries := map[string]int{}
	for _, name := range golden.Names() {
		m := vfs.NewMem()
		golden.Unpack(t, name, m, "/")
		for file, data := range golden.Files(t, name) {
			file = "/" + file
			o, copied := options(m, file), options(m, file+".copy")
			copied.BaseOffset = o.BaseOffset
			n := 0
			switch path.Ext(file) {
			case ".index":
				n = copyOffsets(t, o, copied, len(golden.Files(t, name)[strings.TrimSuffix(file[1:], ".index")+".log"]))
			case ".timeindex":
				n = copyTimes(t, o, copied)
			case ".txnindex":
				n = copyTxns(t, o, copied)
			default:
				continue
			}
			entries[path.Ext(file)] += n
			if n == 0 {
				if _, err := m.Stat(copied.Name); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s: a file for no entries (%v)", file, err)
				}
				continue
			}
			got := content(t, m, copied.Name)
			if !strings.HasPrefix(string(data), got) || strings.Trim(string(data)[len(got):], "\x00") != "" {
				t.Errorf("%s:\ngot  %x\nwant %x", file, got, data)
			}
		}
	}
	if entries[".index"] < 100 || entries[".timeindex"] < 100 || entries[".txnindex"] != 18 {
		t.Errorf("entries seen: %v", entries)
	}
}

func copyOffsets(t *testing.T, from, to index.Options, segment int) int {
	x, err := index.OpenOffset(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Check(int64(segment)); err != nil {
		t.Error(err)
	}
	y, err := index.OpenOffset(to)
	if err != nil {
		t.Fatal(err)
	}
	log := []byte(content(t, from.FS, strings.TrimSuffix(from.Name, ".index")+".log"))
	for i := range x.Len() {
		e, err := x.Entry(i)
		if err != nil {
			t.Fatal(err)
		}
		if h, err := batch.ParseHeader(log[e.Position:]); err != nil || h.LastOffset() > e.Offset {
			t.Errorf("%s: entry %+v leads to %+v, %v", from.Name, e, h, err)
		}
		if got, err := x.Lookup(e.Offset); err != nil || got != e {
			t.Errorf("%s: Lookup(%d) = %+v, %v, want %+v", from.Name, e.Offset, got, err, e)
		}
		if err := y.Append(e.Offset, e.Position); err != nil {
			t.Error(err)
		}
	}
	if err := y.Close(); err != nil {
		t.Error(err)
	}
	return x.Len()
}

func copyTimes(t *testing.T, from, to index.Options) int {
	x, err := index.OpenTime(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Check(); err != nil {
		t.Error(err)
	}
	y, err := index.OpenTime(to)
	if err != nil {
		t.Fatal(err)
	}
	for i := range x.Len() {
		e, err := x.Entry(i)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := x.Lookup(e.Timestamp); err != nil || got != e {
			t.Errorf("%s: Lookup(%d) = %+v, %v, want %+v", from.Name, e.Timestamp, got, err, e)
		}
		if err := y.Append(e.Timestamp, e.Offset, i == x.Len()-1); err != nil {
			t.Error(err)
		}
	}
	if err := y.Sync(); err != nil {
		t.Error(err)
	}
	return x.Len()
}

func copyTxns(t *testing.T, from, to index.Options) int {
	x, err := index.OpenTxn(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Check(); err != nil {
		t.Error(err)
	}
	y, err := index.OpenTxn(to)
	if err != nil {
		t.Fatal(err)
	}
	for i := range x.Len() {
		e, err := x.Entry(i)
		if err != nil {
			t.Fatal(err)
		}
		if err := y.Append(e); err != nil {
			t.Error(err)
		}
	}
	if err := y.Seal(); err != nil {
		t.Error(err)
	}
	return x.Len()
}

// TestGoldenAborted: the transactions that README of golden-1 names.
func TestGoldenAborted(t *testing.T) {
	m := vfs.NewMem()
	golden.Unpack(t, "log-clean", m, "/")
	var all []index.AbortedTxn
	for _, segment := range []string{"00000000000000000000", "00000000000000000055", "00000000000000000267"} {
		x, err := index.OpenTxn(options(m, "/clean/golden-1/"+segment+".txnindex"))
		if err != nil {
			t.Fatal(err)
		}
		var complete bool
		if all, complete, err = x.Collect(all, 0, 407); err != nil || complete {
			t.Fatal(complete, err)
		}
	}
	want := []index.AbortedTxn{{4, 20, 66, 67}, {3, 67, 122, 123}, {3, 201, 256, 0}, {4, 221, 267, 0}, {3, 335, 390, 391}}
	if len(all) != len(want) {
		t.Fatalf("got %+v", all)
	}
	for i := range want {
		if all[i].ProducerID != want[i].ProducerID || all[i].FirstOffset != want[i].FirstOffset || all[i].LastOffset != want[i].LastOffset {
			t.Errorf("got %+v, want %+v", all[i], want[i])
		}
	}
}

func TestCollect(t *testing.T) {
	x, err := index.OpenTxn(index.Options{FS: vfs.NewMem(), Name: "/0.txnindex"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(1000) {
		// Each begins 5 before its marker, which the next one's start precedes.
		if err := x.Append(index.AbortedTxn{ProducerID: i, FirstOffset: 10 * i, LastOffset: 10*i + 5, LastStableOffset: 10*i + 6}); err != nil {
			t.Fatal(err)
		}
	}
	check := func() {
		t.Helper()
		for _, test := range []struct {
			from, upTo  int64
			first, last int64 // producers; first > last is none
			complete    bool
		}{
			{0, 10, 0, 0, false}, // the next entry ends it
			{0, 6, 0, 0, true},
			{6, 10, 1, 0, true},
			{55, 100, 5, 9, true},
			{4000, 9000, 400, 899, true},
			{9990, 100000, 999, 999, false},
			{9996, 100000, 1, 0, false},
		} {
			got, complete, err := x.Collect(nil, test.from, test.upTo)
			if err != nil || int64(len(got)) != max(0, test.last-test.first+1) {
				t.Errorf("[%d, %d): %d transactions, %v", test.from, test.upTo, len(got), err)
				continue
			}
			if len(got) > 0 && (got[0].ProducerID != test.first || got[len(got)-1].ProducerID != test.last) {
				t.Errorf("[%d, %d): %+v", test.from, test.upTo, got)
			}
			if test.upTo != 10 && complete != test.complete {
				t.Errorf("[%d, %d): complete %v", test.from, test.upTo, complete)
			}
		}
	}
	check()
	if err := x.Seal(); err != nil {
		t.Fatal(err)
	}
	check()
	if err := x.TruncateTo(5005); err != nil || x.Len() != 500 {
		t.Errorf("%d transactions left, %v", x.Len(), err)
	}
	if err := x.Append(index.AbortedTxn{FirstOffset: 1, LastOffset: 4995}); !errors.Is(err, index.ErrOrder) {
		t.Errorf("a second marker at one offset: %v", err)
	}
}

// TestModel compares the indexes with plain slices under random appends, lookups,
// truncations, syncs, seals, renames and reopenings.
func TestModel(t *testing.T) {
	for seed := range uint64(6) {
		r := rand.New(rand.NewPCG(seed, 7))
		m := vfs.NewMem()
		o := index.Options{FS: m, Name: "/a.index", BaseOffset: 1000, MaxBytes: 8 * 5000}
		x, err := index.OpenOffset(o)
		if err != nil {
			t.Fatal(err)
		}
		var model []index.OffsetEntry
		last := func() index.OffsetEntry {
			if len(model) == 0 {
				return index.OffsetEntry{Offset: 1000}
			}
			return model[len(model)-1]
		}
		for step := range 400 {
			switch op := r.IntN(12); op {
			case 0, 1, 2, 3, 4:
				for range r.IntN(100) {
					e := index.OffsetEntry{Offset: last().Offset + 1 + r.Int64N(50), Position: last().Position + 1 + r.Int64N(5000)}
					if err := x.Append(e.Offset, e.Position); err != nil {
						if errors.Is(err, index.ErrFull) && len(model) == 5000 && x.Full() {
							break
						}
						t.Fatal(seed, step, err)
					}
					model = append(model, e)
				}
			case 5:
				if r.IntN(4) > 0 {
					continue
				}
				target := 1000 + r.Int64N(last().Offset-1000+2)
				for len(model) > 0 && last().Offset >= target {
					model = model[:len(model)-1]
				}
				err = x.TruncateTo(target)
			case 6:
				err = x.Sync()
			case 7:
				err = x.Seal()
			case 8:
				name := "/" + string(rune('a'+r.IntN(5))) + ".index"
				if name != o.Name {
					o.Name = name
					err = x.Rename(name)
				}
			case 9:
				if err := x.Close(); err != nil {
					t.Fatal(err)
				}
				x, err = index.OpenOffset(o)
			default:
				compare(t, x, model, r)
			}
			if err != nil {
				t.Fatal(seed, step, err)
			}
			if x.Len() != len(model) || x.Last() != last() {
				t.Fatalf("seed %d, step %d: %d entries, last %+v, want %d, %+v", seed, step, x.Len(), x.Last(), len(model), last())
			}
		}
		if err := x.Sync(); err != nil {
			t.Fatal(err)
		}
		if err := m.SyncDir("/"); err != nil { // for the renames, which Sync leaves alone
			t.Fatal(err)
		}
		crashed := o
		crashed.FS = m.CrashClone(0)
		if len(model) == 0 {
			continue
		}
		y, err := index.OpenOffset(crashed)
		if err != nil || y.Len() != len(model) {
			t.Fatalf("after a crash %d entries of %d, %v", y.Len(), len(model), err)
		}
	}
}

func compare(t *testing.T, x *index.OffsetIndex, model []index.OffsetEntry, r *rand.Rand) {
	t.Helper()
	for range 20 {
		target := int64(1000)
		want := index.OffsetEntry{Offset: 1000}
		if n := len(model); n > 0 {
			target += r.Int64N(model[n-1].Offset - 1000 + 10)
		}
		for _, e := range model {
			if e.Offset <= target {
				want = e
			}
		}
		if got, err := x.Lookup(target); err != nil || got != want {
			t.Fatalf("Lookup(%d) = %+v, %v, want %+v", target, got, err, want)
		}
		if len(model) == 0 {
			continue
		}
		i := r.IntN(len(model))
		if got, err := x.Below(model[i].Position); err != nil || got != model[i] {
			t.Fatalf("Below(%d) = %+v, %v, want %+v", model[i].Position, got, err, model[i])
		}
		if got, ok, err := x.Above(model[i].Position); err != nil || !ok || got != model[i] {
			t.Fatalf("Above(%d) = %+v, %v, %v, want %+v", model[i].Position, got, ok, err, model[i])
		}
		if got, err := x.Entry(i); err != nil || got != model[i] {
			t.Fatalf("Entry(%d) = %+v, %v, want %+v", i, got, err, model[i])
		}
	}
}

func TestTimeIndex(t *testing.T) {
	x, err := index.OpenTime(index.Options{FS: vfs.NewMem(), Name: "/t", BaseOffset: 10, MaxBytes: 12*4 + 5})
	if err != nil {
		t.Fatal(err)
	}
	append := func(ts, offset int64, final bool, want error) {
		t.Helper()
		if err := x.Append(ts, offset, final); !errors.Is(err, want) {
			t.Errorf("Append(%d, %d): %v, want %v", ts, offset, err, want)
		}
	}
	append(-1, 10, false, nil) // no timestamp, no entry
	append(100, 12, false, nil)
	append(100, 13, false, nil) // not later, no entry
	append(200, 11, false, index.ErrOrder)
	append(200, 14, false, nil)
	append(300, 15, false, nil)
	if !x.Full() {
		t.Error("a slot must be left for the last entry")
	}
	append(400, 16, false, index.ErrFull)
	append(400, 16, true, nil)
	append(500, 17, true, index.ErrFull)
	for target, want := range map[int64]index.TimeEntry{0: {-1, 10}, 99: {-1, 10}, 100: {100, 12}, 399: {300, 15}, 1000: {400, 16}} {
		if got, err := x.Lookup(target); err != nil || got != want {
			t.Errorf("Lookup(%d) = %+v, %v, want %+v", target, got, err, want)
		}
	}
	if err := x.TruncateTo(14); err != nil || x.Len() != 1 || x.Last() != (index.TimeEntry{Timestamp: 100, Offset: 12}) {
		t.Errorf("%d entries, last %+v, %v", x.Len(), x.Last(), err)
	}
}

func TestCheck(t *testing.T) {
	write := func(data string) index.Options {
		m := vfs.NewMem()
		f, err := m.Create("/x")
		if err != nil {
			t.Fatal(err)
		}
		f.WriteAt([]byte(data), 0)
		return index.Options{FS: m, Name: "/x", BaseOffset: 5}
	}
	for data, ok := range map[string]bool{
		"":                                         true,
		"\x00\x00\x00\x03\x00\x00\x00\x40":         true,
		"\x00\x00\x00\x03\x00\x00\x01\x00":         false, // beyond the segment
		"\x00\x00\x00\x00\x00\x00\x00\x40":         false, // at the base
		"\xff\xff\xff\xff\x00\x00\x00\x40":         false, // below the base
		"\x00\x00\x00\x03\x00\x00\x00\x40\x00\x00": false, // no whole entries
		strings.Repeat("\x00", 800):                true,  // preallocated, nothing in it
	} {
		x, err := index.OpenOffset(write(data))
		if err != nil {
			t.Fatal(err)
		}
		if err := x.Check(0x100); (err == nil) != ok || err != nil && !errors.Is(err, index.ErrCorrupt) {
			t.Errorf("%x: %v", data, err)
		}
		if err := x.Reset(); err != nil || x.Check(0) != nil || x.Len() != 0 {
			t.Errorf("%x: after Reset %v, %d entries", data, err, x.Len())
		}
	}
}

// TestFailures: what the file system refuses is reported, and nothing is lost in
// memory by it.
func TestFailures(t *testing.T) {
	broken := errors.New("broken")
	fail := true
	failing := vfs.NewFailing(vfs.NewMem(), func(op vfs.Op) error {
		if fail && (op.Kind == vfs.OpWrite || op.Kind == vfs.OpSync) {
			return broken
		}
		return nil
	})
	x, err := index.OpenOffset(index.Options{FS: failing, Name: "/x"})
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Append(5, 100); err != nil {
		t.Fatal(err)
	}
	if err := x.Sync(); !errors.Is(err, broken) {
		t.Errorf("Sync: %v", err)
	}
	if err := x.Seal(); !errors.Is(err, broken) {
		t.Errorf("Seal: %v", err)
	}
	if got, err := x.Lookup(7); err != nil || got.Position != 100 {
		t.Errorf("Lookup: %+v, %v", got, err)
	}
	fail = false
	if err := x.Remove(); err != nil {
		t.Errorf("Remove: %v", err)
	}
	if err := x.Append(6, 200); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Append after Remove: %v", err)
	}
}

func FuzzOpen(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x03\x00\x00\x00\x40\x00\x00\x00\x04\x00\x00\x00\x80"), int64(3))
	f.Add(make([]byte, 34), int64(0))
	f.Fuzz(func(t *testing.T, data []byte, target int64) {
		m := vfs.NewMem()
		file, _ := m.Create("/x")
		file.WriteAt(data, 0)
		o := index.Options{FS: m, Name: "/x"}
		offsets, err := index.OpenOffset(o)
		if err != nil {
			t.Fatal(err)
		}
		times, err := index.OpenTime(o)
		if err != nil {
			t.Fatal(err)
		}
		txns, err := index.OpenTxn(o)
		if err != nil {
			t.Fatal(err)
		}
		offsets.Check(1 << 20)
		times.Check()
		txns.Check()
		for _, err := range []error{
			second(offsets.Lookup(target)), second(times.Lookup(target)),
			func() error { _, _, err := txns.Collect(nil, target, target+100); return err }(),
			offsets.TruncateTo(target), offsets.Close(),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}

func second[T any](_ T, err error) error { return err }
