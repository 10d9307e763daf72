package index

import (
	"fmt"
	"slices"
	"sort"

	"barnabas/internal/vfs"
)

// searchBytes is how much of a file is read at once, when a search has narrowed
// it down to that.
const searchBytes = 4 << 10

// tailBegin is the index of the first entry in memory.
func (t *table) tailBegin() int { return t.count - len(t.tail)/t.entrySize }

// readLocked runs fn with a file to read.
func (t *table) readLocked(fn func(f vfs.File) error) error {
	if t.file != nil {
		return fn(t.file)
	}
	f, err := t.fs.Open(t.name)
	if err != nil {
		return err
	}
	if err := fn(f); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// entry returns the ith entry.
func (t *table) entry(i int) ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.entryLocked(i)
}

func (t *table) entryLocked(i int) ([]byte, error) {
	if i < 0 || i >= t.count {
		return nil, fmt.Errorf("index: %s has no entry %d of %d", t.name, i, t.count)
	}
	out := make([]byte, t.entrySize)
	if begin := t.tailBegin(); i >= begin {
		copy(out, t.tail[(i-begin)*t.entrySize:])
		return out, nil
	}
	err := t.readLocked(func(f vfs.File) error { return readFull(f, out, int64(i*t.entrySize)) })
	return out, err
}

// entries returns the entries from the ith on, as many as a block holds, at least
// one if there is one.
func (t *table) entries(i int) ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	begin := t.tailBegin()
	switch {
	case i >= t.count:
		return nil, nil
	case i >= begin:
		return slices.Clone(t.tail[(i-begin)*t.entrySize:]), nil
	}
	block := make([]byte, min(begin-i, searchBytes/t.entrySize)*t.entrySize)
	err := t.readLocked(func(f vfs.File) error { return readFull(f, block, int64(i*t.entrySize)) })
	return block, err
}

// search finds the first entry for which found is true; found must be false up
// to some entry and true from there on. It returns the entry's number (count if
// there is none), the entry, and the one before it; nil where there is none.
func (t *table) search(found func(entry []byte) bool) (n int, at, before []byte, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	begin := t.tailBegin()
	if begin == 0 || len(t.tail) > 0 && !found(t.tail[:t.entrySize]) {
		n := begin + searchBlock(t.tail, t.entrySize, found)
		return n, t.copyTail(n, begin), t.copyTail(n-1, begin), nil
	}
	err = t.readLocked(func(f vfs.File) error {
		n, at, before, err = t.searchFile(f, begin, found)
		return err
	})
	if err == nil && n == begin && len(t.tail) > 0 {
		at = t.copyTail(n, begin)
	}
	return n, at, before, err
}

func (t *table) copyTail(n, begin int) []byte {
	if n < begin || n >= t.count {
		return nil
	}
	i := (n - begin) * t.entrySize
	return slices.Clone(t.tail[i : i+t.entrySize])
}

// searchFile searches the first n entries of the file: by halves until a block
// remains, then in that.
func (t *table) searchFile(f vfs.File, n int, found func([]byte) bool) (int, []byte, []byte, error) {
	lo, hi := 0, n // the answer is in [lo, hi]
	entry := make([]byte, t.entrySize)
	for (hi-lo+1)*t.entrySize > searchBytes {
		mid := lo + (hi-lo)/2
		if err := readFull(f, entry, int64(mid*t.entrySize)); err != nil {
			return 0, nil, nil, err
		}
		if found(entry) {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	first := max(lo-1, 0) // the one before the answer is wanted too
	end := min(hi+1, n)
	block := make([]byte, (end-first)*t.entrySize)
	if err := readFull(f, block, int64(first*t.entrySize)); err != nil {
		return 0, nil, nil, err
	}
	i := searchBlock(block, t.entrySize, found)
	var at, before []byte
	if i*t.entrySize < len(block) {
		at = block[i*t.entrySize : (i+1)*t.entrySize]
	}
	if i > 0 {
		before = block[(i-1)*t.entrySize : i*t.entrySize]
	}
	return first + i, at, before, nil
}

func searchBlock(block []byte, entrySize int, found func([]byte) bool) int {
	return sort.Search(len(block)/entrySize, func(i int) bool {
		return found(block[i*entrySize : (i+1)*entrySize])
	})
}
