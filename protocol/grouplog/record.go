package grouplog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// ErrRecord is wrapped by errors about keys and values that do not decode.
var ErrRecord = errors.New("grouplog: malformed record of __consumer_offsets")

// KeyKind tells what a record of __consumer_offsets is about.
type KeyKind int8

const (
	// KeyUnknown is a key of a version that is not read here:
	// from 3 on they belong to the newer group protocol.
	KeyUnknown KeyKind = iota
	// KeyOffset is a committed offset, versions 0 and 1.
	KeyOffset
	// KeyGroup is the metadata of a group, version 2.
	KeyGroup
)

// Key is a decoded record key.
type Key struct {
	Kind    KeyKind
	Version int16
	Group   string
	// Topic and Partition are set for KeyOffset.
	Topic     string
	Partition int32
}

// NoExpiration and NoTimestamp stand where a record carries no such time, and
// NoEpoch where it carries no leader epoch.
const (
	NoExpiration = int64(-1)
	NoTimestamp  = int64(-1)
	NoEpoch      = int32(-1)
)

// OffsetValue is a committed offset as it is stored. Times are milliseconds
// since 1970.
type OffsetValue struct {
	Version         int16 // as decoded; AppendOffsetValue chooses its own
	Offset          int64
	LeaderEpoch     int32 // NoEpoch if the client gave none
	Metadata        string
	CommitTimestamp int64
	ExpireTimestamp int64 // NoExpiration but for commits with a retention time
}

// GroupValue is the metadata of a group as it is stored.
type GroupValue struct {
	Version        int16 // as decoded; AppendGroupValue writes 3
	ProtocolType   string
	Generation     int32
	Protocol       *string
	Leader         *string
	StateTimestamp int64 // NoTimestamp before version 2
	Members        []MemberValue
}

// MemberValue is one member of a stored group. Timeouts are milliseconds.
type MemberValue struct {
	MemberID         string
	InstanceID       *string
	ClientID         string
	ClientHost       string
	RebalanceTimeout int32
	SessionTimeout   int32
	Subscription     []byte
	Assignment       []byte
}

// AppendOffsetKey appends the key of one partition's committed offset.
func AppendOffsetKey(b []byte, group, topic string, partition int32) []byte {
	b = binary.BigEndian.AppendUint16(b, 1)
	b = appendString(b, group)
	b = appendString(b, topic)
	return binary.BigEndian.AppendUint32(b, uint32(partition))
}

// AppendGroupKey appends the key of a group's metadata.
func AppendGroupKey(b []byte, group string) []byte {
	b = binary.BigEndian.AppendUint16(b, 2)
	return appendString(b, group)
}

// AppendOffsetValue appends v in version 3, or in version 1 if it expires.
func AppendOffsetValue(b []byte, v *OffsetValue) []byte {
	if v.ExpireTimestamp != NoExpiration {
		b = binary.BigEndian.AppendUint16(b, 1)
		b = binary.BigEndian.AppendUint64(b, uint64(v.Offset))
		b = appendString(b, v.Metadata)
		b = binary.BigEndian.AppendUint64(b, uint64(v.CommitTimestamp))
		return binary.BigEndian.AppendUint64(b, uint64(v.ExpireTimestamp))
	}
	b = binary.BigEndian.AppendUint16(b, 3)
	b = binary.BigEndian.AppendUint64(b, uint64(v.Offset))
	b = binary.BigEndian.AppendUint32(b, uint32(v.LeaderEpoch))
	b = appendString(b, v.Metadata)
	return binary.BigEndian.AppendUint64(b, uint64(v.CommitTimestamp))
}

// AppendGroupValue appends v in version 3.
func AppendGroupValue(b []byte, v *GroupValue) []byte {
	b = binary.BigEndian.AppendUint16(b, 3)
	b = appendString(b, v.ProtocolType)
	b = binary.BigEndian.AppendUint32(b, uint32(v.Generation))
	b = appendNullableString(b, v.Protocol)
	b = appendNullableString(b, v.Leader)
	b = binary.BigEndian.AppendUint64(b, uint64(v.StateTimestamp))
	b = binary.BigEndian.AppendUint32(b, uint32(len(v.Members)))
	for i := range v.Members {
		m := &v.Members[i]
		b = appendString(b, m.MemberID)
		b = appendNullableString(b, m.InstanceID)
		b = appendString(b, m.ClientID)
		b = appendString(b, m.ClientHost)
		b = binary.BigEndian.AppendUint32(b, uint32(m.RebalanceTimeout))
		b = binary.BigEndian.AppendUint32(b, uint32(m.SessionTimeout))
		b = appendBytes(b, m.Subscription)
		b = appendBytes(b, m.Assignment)
	}
	return b
}

// FitsString reports whether s can be a string of a record.
func FitsString(s string) bool { return len(s) <= math.MaxInt16 }

func appendString(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

func appendNullableString(b []byte, s *string) []byte {
	if s == nil {
		return append(b, 0xff, 0xff)
	}
	return appendString(b, *s)
}

func appendBytes(b, v []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(v)))
	return append(b, v...)
}

// DecodeKey reads a record's key. Versions from 3 on give KeyUnknown and no
// error. Strings are copies.
func DecodeKey(b []byte) (Key, error) { return DecodeKeyWith(b, nil) }

// DecodeKeyWith is DecodeKey whose strings are those of interned, if it is not
// nil: names that repeat in every key then share their bytes.
func DecodeKeyWith(b []byte, interned map[string]string) (Key, error) {
	d := decoder{b: b, interned: interned}
	k := Key{Version: d.int16()}
	switch {
	case d.failed || k.Version < 0:
		return Key{}, fmt.Errorf("%w: key of %d bytes", ErrRecord, len(b))
	case k.Version <= 1:
		k.Kind, k.Group, k.Topic, k.Partition = KeyOffset, d.string(), d.string(), d.int32()
	case k.Version == 2:
		k.Kind, k.Group = KeyGroup, d.string()
	}
	if d.failed {
		return Key{}, fmt.Errorf("%w: key of version %d ends early", ErrRecord, k.Version)
	}
	return k, nil
}

// DecodeOffsetValue reads versions 0 to 4.
func DecodeOffsetValue(b []byte) (OffsetValue, error) {
	d := decoder{b: b}
	v := OffsetValue{Version: d.int16(), LeaderEpoch: NoEpoch, ExpireTimestamp: NoExpiration}
	if v.Version < 0 || v.Version > 4 {
		return OffsetValue{}, fmt.Errorf("%w: offset value of version %d", ErrRecord, v.Version)
	}
	d.flexible = v.Version >= 4
	v.Offset = d.int64()
	if v.Version >= 3 {
		v.LeaderEpoch = d.int32()
	}
	v.Metadata = d.string()
	v.CommitTimestamp = d.int64()
	if v.Version == 1 {
		v.ExpireTimestamp = d.int64()
	}
	d.tags()
	if d.failed {
		return OffsetValue{}, fmt.Errorf("%w: offset value of version %d ends early", ErrRecord, v.Version)
	}
	return v, nil
}

// DecodeGroupValue reads versions 0 to 4. Byte slices of the result alias b.
func DecodeGroupValue(b []byte) (GroupValue, error) {
	d := decoder{b: b}
	v := GroupValue{Version: d.int16(), StateTimestamp: NoTimestamp}
	if v.Version < 0 || v.Version > 4 {
		return GroupValue{}, fmt.Errorf("%w: group value of version %d", ErrRecord, v.Version)
	}
	d.flexible = v.Version >= 4
	v.ProtocolType = d.string()
	v.Generation = d.int32()
	v.Protocol = d.nullableString()
	v.Leader = d.nullableString()
	if v.Version >= 2 {
		v.StateTimestamp = d.int64()
	}
	n := d.arrayLen()
	for range n {
		if d.failed {
			break
		}
		v.Members = append(v.Members, d.member(v.Version))
	}
	d.tags()
	if d.failed {
		return GroupValue{}, fmt.Errorf("%w: group value of version %d ends early", ErrRecord, v.Version)
	}
	return v, nil
}

func (d *decoder) member(version int16) MemberValue {
	m := MemberValue{MemberID: d.string()}
	if version >= 3 {
		m.InstanceID = d.nullableString()
	}
	m.ClientID, m.ClientHost = d.string(), d.string()
	if version >= 1 {
		m.RebalanceTimeout = d.int32()
	}
	m.SessionTimeout = d.int32()
	if version == 0 {
		m.RebalanceTimeout = m.SessionTimeout
	}
	m.Subscription, m.Assignment = d.bytes(), d.bytes()
	d.tags()
	return m
}

// decoder reads fields in order. After the first that does not fit, failed is
// set and all others are zero. No length is trusted before it is compared with
// what is left.
type decoder struct {
	b        []byte
	flexible bool
	failed   bool
	// interned, if not nil, lets equal strings share their bytes.
	interned map[string]string
}

func (d *decoder) take(n int) []byte {
	if d.failed || n < 0 || n > len(d.b) {
		d.failed = true
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) int16() int16 {
	if v := d.take(2); v != nil {
		return int16(binary.BigEndian.Uint16(v))
	}
	return 0
}

func (d *decoder) int32() int32 {
	if v := d.take(4); v != nil {
		return int32(binary.BigEndian.Uint32(v))
	}
	return 0
}

func (d *decoder) int64() int64 {
	if v := d.take(8); v != nil {
		return int64(binary.BigEndian.Uint64(v))
	}
	return 0
}

func (d *decoder) uvarint() int {
	v, n := binary.Uvarint(d.b)
	if d.failed || n <= 0 || n > 5 || v > math.MaxInt32 {
		d.failed = true
		return 0
	}
	d.b = d.b[n:]
	return int(v)
}

// length reads the length of a string (wide false) or of bytes or an array;
// -1 is null.
func (d *decoder) length(wide bool) int {
	switch {
	case d.flexible:
		return d.uvarint() - 1
	case wide:
		return int(d.int32())
	default:
		return int(d.int16())
	}
}

func (d *decoder) nullableString() *string {
	n := d.length(false)
	if n == -1 && !d.failed {
		return nil
	}
	s := string(d.take(n))
	return &s
}

// string reads a string that must not be null.
func (d *decoder) string() string {
	b := d.take(d.length(false))
	if d.interned == nil {
		return string(b)
	}
	s, found := d.interned[string(b)]
	if !found {
		s = string(b)
		d.interned[s] = s
	}
	return s
}

// bytes reads bytes; null reads as empty.
func (d *decoder) bytes() []byte {
	n := d.length(true)
	if n == -1 && !d.failed {
		return nil
	}
	return d.take(n)
}

// arrayLen reads the count of an array whose elements have a byte or more.
func (d *decoder) arrayLen() int {
	n := d.length(true)
	if n < 0 || n > len(d.b) {
		d.failed = true
		return 0
	}
	return n
}

// tags skips the tagged fields at the end of a flexible structure.
func (d *decoder) tags() {
	if !d.flexible {
		return
	}
	for n := d.uvarint(); n > 0 && !d.failed; n-- {
		d.uvarint()
		d.take(d.uvarint())
	}
}
