package log

import (
	"testing"

	"barnabas/internal/vfs"
	"barnabas/log/batch"
)

// FuzzOpen opens a directory whose segment holds any bytes: recovery keeps whole
// good batches, and a second one changes nothing.
func FuzzOpen(f *testing.F) {
	good := append(makeBatch(f, 2, "v", nil, false), makeBatch(f, 1, "w", nil, false)...)
	good[81+7] = 2 // the second batch's offset
	f.Add(good, false)
	f.Add(good[:100], false)
	f.Add(good, true)
	f.Add(make([]byte, 200), false)
	f.Fuzz(func(t *testing.T, b []byte, clean bool) {
		fs := vfs.NewMem()
		must(t, fs.MkdirAll("/d/t-0"))
		file, err := fs.Create("/d/t-0/" + fileName(0, logSuffix))
		must(t, err)
		_, err = file.WriteAt(b, 0)
		must(t, err)
		l := openTest(t, fs, testOptions(), func(o *OpenOptions) { o.Clean = clean })
		if !clean {
			headers := headersOf(t, l)
			for i, h := range headers {
				if i > 0 && h.BaseOffset < headers[i-1].NextOffset() {
					t.Fatalf("offsets go back at %d", h.BaseOffset)
				}
			}
		}
		end, size := l.EndOffset(), l.Size()
		again := openTest(t, fs.CrashClone(100), testOptions(), func(o *OpenOptions) { o.Clean = false })
		if !clean && (again.EndOffset() != end || again.Size() != size) {
			t.Fatalf("first %d, %d bytes; second %d, %d bytes", end, size, again.EndOffset(), again.Size())
		}
	})
}

// headersOf walks the first segment.
func headersOf(t *testing.T, l *Log) (out []batch.Header) {
	s := l.segments[0]
	sc := newScanner(s.file, 0, s.size.Load(), nil)
	for sc.pos < sc.end {
		h, pos, err := sc.next()
		must(t, err)
		if ok, err := sc.checkCRC(&h, pos); err != nil || !ok {
			t.Fatalf("bad batch kept at %d: %v", pos, err)
		}
		out = append(out, h)
	}
	return out
}
