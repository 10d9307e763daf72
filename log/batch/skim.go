package batch

import "math"

// accepted says what skim may pass over: the records between two timestamps
// (milliseconds, inclusive), of a compacted topic only those with a key.
type accepted struct {
	earliest, latest int64
	keys             bool
}

// skim goes over records as long as they are good, accepted and of the common
// shape, in which no number has more than two bytes, and returns the largest of
// their timestamps and maxTimestamp. It stops before the first other one, which
// next judges: whatever skim passes, next and the rules would have passed too.
//
// As a broker looks at every record that comes uncompressed, this is the hottest
// loop of its own code. So nothing but the place is kept, the bytes of keys and
// values are not touched, and there is one check at a record's end for all
// lengths in it: none is negative, so a field that leaves the record cannot end
// where the record does; and short, once it has failed, goes on failing.
func (w *walker) skim(base, maxTimestamp int64, a accepted) int64 {
	p, left, at := w.p, w.left, 0
	for ; left > 0; left-- {
		size, i := short(p, at)
		end := i + int(size)
		delta, i := short(p, i+1) // past the attributes, all unused
		_, i = short(p, i)        // the offset, which is stored as sent
		key, i := short(p, i)
		value, i := short(p, i+int(max(key, 0)))
		i += int(max(value, 0))
		if key < Absent || value < Absent || key == Absent && a.keys || i >= end || end > len(p) {
			break
		}
		if p[i] == 0 {
			i++
		} else {
			i += goodHeaders(p[i:end])
		}
		ts := base + int64(delta)
		if i != end || ts != Absent && (ts < a.earliest || ts > a.latest) {
			break
		}
		maxTimestamp = max(maxTimestamp, ts)
		at = end
	}
	w.passed(at, left)
	return maxTimestamp
}

// goodHeaders is the size of p if that is a number of headers, at most 63, and
// the headers; else 0.
func goodHeaders(p []byte) int {
	headers, i := short(p, 0)
	if i != 1 || headers < 0 {
		return 0
	}
	for range headers {
		var size int32
		if size, i = short(p, i); size < 0 {
			return 0
		}
		if size, i = short(p, i+int(size)); size < Absent {
			return 0
		}
		i += int(max(size, 0))
	}
	return i
}

// passed moves to p[at:], where left records are left.
func (w *walker) passed(at int, left int32) {
	if left == w.left {
		return
	}
	w.index += w.left - left
	if !w.begun {
		w.index--
	}
	w.p, w.left, w.begun = w.p[at:], left, true
}

// far is behind the end of any batch, with room for some lengths.
const far = math.MaxInt / 2

// short reads a zig-zag number of one byte or two at p[i]; next is the position
// after it. If there is none such, v is -2, which no length may be, and next is
// far. It is just small enough to be inlined.
func short(p []byte, i int) (v int32, next int) {
	if i < len(p) && p[i] < 0x80 {
		return int32(p[i]>>1) ^ -int32(p[i]&1), i + 1
	}
	if i+1 < len(p) && p[i+1] < 0x80 {
		u := uint32(p[i]&0x7f) | uint32(p[i+1])<<7
		return int32(u>>1) ^ -int32(u&1), i + 2
	}
	return -2, far
}
