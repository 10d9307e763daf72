package protocol

import "encoding/binary"

// reader takes values off the front of b. After the first value that is not
// there, bad is set and all further values are zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) fail() {
	r.b, r.bad = nil, true
}

func (r *reader) span(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.fail()
		return nil
	}
	s := r.b[:n:n]
	r.b = r.b[n:]
	return s
}

func (r *reader) int16() int16 {
	if len(r.b) < 2 {
		r.fail()
		return 0
	}
	v := int16(binary.BigEndian.Uint16(r.b))
	r.b = r.b[2:]
	return v
}

func (r *reader) int32() int32 {
	if len(r.b) < 4 {
		r.fail()
		return 0
	}
	v := int32(binary.BigEndian.Uint32(r.b))
	r.b = r.b[4:]
	return v
}

// uvarint reads at most 5 bytes, as Kafka does.
func (r *reader) uvarint() uint32 {
	var v uint32
	for i := range 5 {
		if i >= len(r.b) {
			break
		}
		c := r.b[i]
		if i == 4 && c > 0x0f {
			break
		}
		v |= uint32(c&0x7f) << (7 * i)
		if c < 0x80 {
			r.b = r.b[i+1:]
			return v
		}
	}
	r.fail()
	return 0
}

// length reads a length prefix: -1 is null.
func (r *reader) length(compact bool, wide bool) int {
	switch {
	case compact:
		return int(r.uvarint()) - 1
	case wide:
		return int(r.int32())
	}
	return int(r.int16())
}

// string reads a string, which may not be null.
func (r *reader) string(compact bool) []byte { return r.span(r.length(compact, false)) }

// nullableString reads a string; null, and any negative length, is nil.
func (r *reader) nullableString(compact bool) []byte {
	n := r.length(compact, false)
	if n < 0 {
		return nil
	}
	return r.span(n)
}

// nullableBytes reads bytes; null, and any negative length, is nil.
func (r *reader) nullableBytes(compact bool) []byte {
	n := r.length(compact, true)
	if n < 0 {
		return nil
	}
	return r.span(n)
}

// array reads the length of an array that may not be null, whose elements take
// at least size bytes each.
func (r *reader) array(compact bool, size int) int {
	n := r.length(compact, true)
	if n < 0 || n > len(r.b)/size {
		r.fail()
		return 0
	}
	return n
}

// tags skips tagged fields. known is called for each; nil skips all.
func (r *reader) tags(known func(tag uint32, value []byte)) {
	n := r.uvarint()
	if int64(n)*2 > int64(len(r.b)) {
		r.fail()
		return
	}
	for range n {
		tag := r.uvarint()
		value := r.span(int(r.uvarint()))
		if r.bad {
			return
		}
		if known != nil {
			known(tag, value)
		}
	}
}
