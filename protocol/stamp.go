package protocol

import (
	"encoding/binary"

	"barnabas/internal/kafka"
)

// Stamp says how far a broker has read the change log. Brokers put it as a tagged
// field into the headers of requests to each other and of their answers, so that
// one that lost ZooKeeper learns from others that the cluster has moved on
// (docs/coordination.md §8).
type Stamp struct {
	Epoch kafka.ControllerEpoch
	Next  int64 // number of the first entry that was not read
}

// Newer reports whether s has read more than other.
func (s Stamp) Newer(other Stamp) bool {
	return s.Epoch > other.Epoch || s.Epoch == other.Epoch && s.Next > other.Next
}

// TagStamp is the tag of a Stamp in headers. Others pass over it.
const TagStamp = 0xba02

const stampSize = 12

// appendStampTags appends the tagged fields of a header: a Stamp alone.
func appendStampTags(dst []byte, s Stamp) []byte {
	dst = binary.AppendUvarint(dst, 1)
	dst = binary.AppendUvarint(dst, TagStamp)
	dst = binary.AppendUvarint(dst, stampSize)
	dst = binary.BigEndian.AppendUint32(dst, uint32(s.Epoch))
	return binary.BigEndian.AppendUint64(dst, uint64(s.Next))
}

// stampTags reads the tagged fields of a header; ok tells whether a Stamp is
// among them.
func (r *reader) stampTags() (s Stamp, ok bool) {
	n := r.uvarint()
	if int64(n)*2 > int64(len(r.b)) {
		r.fail()
		return s, false
	}
	for range n {
		tag := r.uvarint()
		value := r.span(int(r.uvarint()))
		if r.bad {
			return s, false
		}
		if tag == TagStamp && len(value) >= stampSize {
			s = Stamp{kafka.ControllerEpoch(binary.BigEndian.Uint32(value)), int64(binary.BigEndian.Uint64(value[4:]))}
			ok = true
		}
	}
	return s, ok
}

// ResponseTags reads the tagged fields of a response header and returns the body
// after them.
func ResponseTags(b []byte) (s Stamp, stamped bool, body []byte, ok bool) {
	r := reader{b: b}
	s, stamped = r.stampTags()
	return s, stamped, r.b, !r.bad
}

// AppendRequestHeader starts a request to another broker: room for the length
// prefix, and the header, with a Stamp if there is one and the version has a
// place for it.
func AppendRequestHeader(dst []byte, key, version int16, correlationID int32, clientID string, s *Stamp) []byte {
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint16(dst, uint16(key))
	dst = binary.BigEndian.AppendUint16(dst, uint16(version))
	dst = binary.BigEndian.AppendUint32(dst, uint32(correlationID))
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(clientID)))
	dst = append(dst, clientID...)
	if !flexibleRequestHeader(key, version) {
		return dst
	}
	if s == nil {
		return append(dst, 0)
	}
	return appendStampTags(dst, *s)
}

// AppendStampedResponseHeader is AppendResponseHeader with a Stamp, where the
// version has a place for it.
func AppendStampedResponseHeader(dst []byte, key, version int16, correlationID int32, s Stamp) []byte {
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(correlationID))
	if FlexibleResponseHeader(key, version) {
		dst = appendStampTags(dst, s)
	}
	return dst
}
