package protocol

import "encoding/binary"

func appendUvarint(dst []byte, v uint32) []byte {
	return binary.AppendUvarint(dst, uint64(v))
}

// appendArray writes the length of an array.
func appendArray(dst []byte, compact bool, n int) []byte {
	if compact {
		return appendUvarint(dst, uint32(n)+1)
	}
	return binary.BigEndian.AppendUint32(dst, uint32(n))
}

// appendNullArray writes an array that is null.
func appendNullArray(dst []byte, compact bool) []byte {
	if compact {
		return append(dst, 0)
	}
	return append(dst, 0xff, 0xff, 0xff, 0xff)
}

// appendString writes a string; longer than a string can be, it is cut.
func appendString(dst []byte, compact bool, s string) []byte {
	s = s[:min(len(s), 1<<15-1)]
	if compact {
		dst = appendUvarint(dst, uint32(len(s))+1)
	} else {
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(s)))
	}
	return append(dst, s...)
}

// appendNullableString writes null for the empty string.
func appendNullableString(dst []byte, compact bool, s string) []byte {
	switch {
	case s != "":
		return appendString(dst, compact, s)
	case compact:
		return append(dst, 0)
	}
	return append(dst, 0xff, 0xff)
}

// appendLeader writes the tagged field of a partition's leader.
func appendLeader(dst []byte, tag byte, l Leader) []byte {
	dst = append(dst, tag, 4+4+1)
	dst = binary.BigEndian.AppendUint32(dst, uint32(l.ID))
	dst = binary.BigEndian.AppendUint32(dst, uint32(l.Epoch))
	return append(dst, 0)
}

// appendNodes writes the tagged fields that end an answer of Produce or Fetch:
// the nodes under tag 0, or none.
func appendNodes(dst []byte, nodes []Node) []byte {
	if len(nodes) == 0 {
		return append(dst, 0)
	}
	dst = append(dst, 1, 0) // one tagged field, number 0
	size := len(appendUvarint(nil, uint32(len(nodes))+1))
	for i := range nodes {
		size += nodes[i].size()
	}
	dst = appendUvarint(dst, uint32(size))
	dst = appendArray(dst, true, len(nodes))
	for i := range nodes {
		n := &nodes[i]
		dst = binary.BigEndian.AppendUint32(dst, uint32(n.ID))
		dst = appendString(dst, true, n.Host)
		dst = binary.BigEndian.AppendUint32(dst, uint32(n.Port))
		dst = appendNullableString(dst, true, n.Rack)
		dst = append(dst, 0)
	}
	return dst
}

// size is the length of an encoded node.
func (n *Node) size() int {
	var b [8]byte
	size := 4 + 4 + 1
	for _, s := range [...]string{n.Host, n.Rack} {
		l := min(len(s), 1<<15-1)
		size += len(appendUvarint(b[:0], uint32(l)+1)) + l
	}
	return size
}
