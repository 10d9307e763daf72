package protocol

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrMalformed is wrapped by the errors of bytes that are no request. The
// connection that they came from is closed.
var ErrMalformed = errors.New("protocol: malformed request")

// Header is a request header, of any version. It aliases the frame.
type Header struct {
	Key, Version  int16
	CorrelationID int32
	// ClientID is nil for null.
	ClientID []byte
	// Stamp is what another broker says of itself, if Stamped.
	Stamp   Stamp
	Stamped bool
}

// ParseHeader reads the header of a request and returns the body after it. A
// key or version that we do not know is no error, but then the body is the rest
// of the frame after the client id, since nobody knows whether tagged fields
// follow.
func ParseHeader(frame []byte) (h Header, body []byte, err error) {
	if len(frame) < 8 {
		return h, nil, fmt.Errorf("%w: a header of %d bytes", ErrMalformed, len(frame))
	}
	h.Key = int16(binary.BigEndian.Uint16(frame))
	h.Version = int16(binary.BigEndian.Uint16(frame[2:]))
	h.CorrelationID = int32(binary.BigEndian.Uint32(frame[4:]))
	r := reader{b: frame[8:]}
	if h.Key == KeyControlledShutdown && h.Version == 0 {
		return h, r.b, nil
	}
	h.ClientID = r.nullableString(false)
	if flexibleRequestHeader(h.Key, h.Version) {
		h.Stamp, h.Stamped = r.stampTags()
	}
	if r.bad {
		return h, nil, fmt.Errorf("%w: a header cut short", ErrMalformed)
	}
	return h, r.b, nil
}

// flexibleRequestHeader reports whether tagged fields end the header. Beyond
// the versions that are known this holds for ApiVersions only, whose body is
// not read then.
func flexibleRequestHeader(key, version int16) bool {
	_, max, ok := Supported(key)
	return ok && version <= max && Flexible(key, version)
}

// AppendResponseHeader starts an answer: room for the length prefix, and the
// header.
func AppendResponseHeader(dst []byte, key, version int16, correlationID int32) []byte {
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(correlationID))
	if FlexibleResponseHeader(key, version) {
		dst = append(dst, 0)
	}
	return dst
}
