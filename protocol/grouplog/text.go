package grouplog

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// The text forms of records of __consumer_offsets, as the tools of Apache Kafka
// 3.9 print them: kafka-dump-log --offsets-decoder (DumpLogSegments), and the
// console consumer's OffsetsMessageFormatter and GroupMetadataMessageFormatter.

// DumpText is what dump-log shows after "key:" and "payload:". An empty text is
// not shown. Subscriptions and assignments of consumers are decoded.
func DumpText(offset int64, key, value []byte) (keyText, payload string) {
	if key == nil {
		return "", ""
	}
	d := decoder{b: key}
	version := d.int16()
	k, err := DecodeKey(key)
	switch {
	case d.failed:
		return fmt.Sprintf("Error at offset %d, skipping. Could not read the type of a key of %d bytes.", offset, len(key)), ""
	case err != nil && version < 0, err == nil && k.Kind == KeyUnknown:
		return fmt.Sprintf("Unknown record type %d at offset %d, skipping.", version, offset), ""
	case err != nil:
		return fmt.Sprintf("Error at offset %d, skipping. Could not read record with version %d from key's buffer due to: %v.", offset, version, err), ""
	}
	var j jsonText
	j.raw(`{"type":"`).int(int64(k.Version)).raw(`","data":`)
	j.key(&k)
	j.raw("}")
	keyText = string(j)
	if value == nil {
		return keyText, "<DELETE>"
	}
	j = nil
	d = decoder{b: value}
	version = d.int16()
	j.raw(`{"version":"`).int(int64(version)).raw(`","data":`)
	if !j.value(&k, value, true) {
		return fmt.Sprintf("Error at offset %d, skipping. Could not read record with version %d from value's buffer due to: null.", offset, version), ""
	}
	j.raw("}")
	return keyText, string(j)
}

// MessageText is the line of the console consumer's formatter for records of a
// kind, KeyOffset or KeyGroup; "" for records of the other kind, which it leaves
// out, and for keys without a version.
func MessageText(kind KeyKind, key, value []byte) string {
	var j jsonText
	if key == nil {
		return ""
	}
	d := decoder{b: key}
	version := d.int16()
	k, err := DecodeKey(key)
	if d.failed || err == nil && k.Kind != KeyUnknown && k.Kind != kind {
		return ""
	}
	j.raw(`{"key":{"version":`).int(int64(version)).raw(`,"data":`)
	if err != nil || k.Kind == KeyUnknown {
		j.raw(`"unknown"`)
	} else {
		j.key(&k)
	}
	j.raw(`},"value":`)
	if value == nil {
		return string(*j.raw(`null}`))
	}
	d = decoder{b: value}
	version = d.int16()
	j.raw(`{"version":`).int(int64(version)).raw(`,"data":`)
	if !j.value(&k, value, false) {
		j.raw(`"unknown"`)
	}
	return string(*j.raw("}}"))
}

// jsonText is JSON in Jackson's form: no spaces, and nothing escaped but quotes,
// backslashes and control characters.
type jsonText []byte

func (j *jsonText) raw(s string) *jsonText {
	*j = append(*j, s...)
	return j
}

func (j *jsonText) int(v int64) *jsonText {
	*j = strconv.AppendInt(*j, v, 10)
	return j
}

func (j *jsonText) str(s string) *jsonText {
	*j = append(*j, '"')
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch r {
		case '"', '\\':
			*j = append(*j, '\\', byte(r))
		case '\b':
			j.raw(`\b`)
		case '\t':
			j.raw(`\t`)
		case '\n':
			j.raw(`\n`)
		case '\f':
			j.raw(`\f`)
		case '\r':
			j.raw(`\r`)
		default:
			if r < 0x20 {
				*j = fmt.Appendf(*j, `\u%04X`, r)
			} else {
				*j = utf8.AppendRune(*j, r)
			}
		}
		s = s[size:]
	}
	*j = append(*j, '"')
	return j
}

func (j *jsonText) nullable(s *string) *jsonText {
	if s == nil {
		return j.raw("null")
	}
	return j.str(*s)
}

func (j *jsonText) bytes(b []byte) *jsonText {
	*j = append(*j, '"')
	*j = base64.StdEncoding.AppendEncode(*j, b)
	*j = append(*j, '"')
	return j
}

func (j *jsonText) key(k *Key) {
	j.raw(`{"group":`).str(k.Group)
	if k.Kind == KeyOffset {
		j.raw(`,"topic":`).str(k.Topic).raw(`,"partition":`).int(int64(k.Partition))
	}
	j.raw("}")
}

// value appends the data of a value that belongs to k; false if it can't be
// read.
func (j *jsonText) value(k *Key, b []byte, decode bool) bool {
	switch k.Kind {
	case KeyOffset:
		v, err := DecodeOffsetValue(b)
		if err == nil {
			j.offset(&v)
		}
		return err == nil
	case KeyGroup:
		v, err := DecodeGroupValue(b)
		if err == nil {
			j.group(&v, decode)
		}
		return err == nil
	}
	return false
}

func (j *jsonText) offset(v *OffsetValue) {
	j.raw(`{"offset":`).int(v.Offset)
	if v.Version >= 3 {
		j.raw(`,"leaderEpoch":`).int(int64(v.LeaderEpoch))
	}
	j.raw(`,"metadata":`).str(v.Metadata).raw(`,"commitTimestamp":`).int(v.CommitTimestamp)
	if v.Version == 1 {
		j.raw(`,"expireTimestamp":`).int(v.ExpireTimestamp)
	}
	j.raw("}")
}

// group appends a group's value; decode shows what consumers wrote in clear.
func (j *jsonText) group(v *GroupValue, decode bool) {
	decode = decode && v.ProtocolType == ConsumerProtocol
	j.raw(`{"protocolType":`).str(v.ProtocolType).raw(`,"generation":`).int(int64(v.Generation))
	j.raw(`,"protocol":`).nullable(v.Protocol).raw(`,"leader":`).nullable(v.Leader)
	if v.Version >= 2 {
		j.raw(`,"currentStateTimestamp":`).int(v.StateTimestamp)
	}
	j.raw(`,"members":[`)
	for i := range v.Members {
		if i > 0 {
			j.raw(",")
		}
		j.member(&v.Members[i], v.Version, decode)
	}
	j.raw("]}")
}

func (j *jsonText) member(m *MemberValue, version int16, decode bool) {
	j.raw(`{"memberId":`).str(m.MemberID)
	if version >= 3 {
		j.raw(`,"groupInstanceId":`).nullable(m.InstanceID)
	}
	j.raw(`,"clientId":`).str(m.ClientID).raw(`,"clientHost":`).str(m.ClientHost)
	if version >= 1 {
		j.raw(`,"rebalanceTimeout":`).int(int64(m.RebalanceTimeout))
	}
	j.raw(`,"sessionTimeout":`).int(int64(m.SessionTimeout))
	j.raw(`,"subscription":`)
	if s, good := decodeSubscription(m.Subscription); decode && good {
		j.subscription(&s)
	} else {
		j.bytes(m.Subscription)
	}
	j.raw(`,"assignment":`)
	if a, good := decodeAssignment(m.Assignment); decode && good {
		j.raw(`{"assignedPartitions":`).topics(a.topics).raw(`,"userData":`).userData(a.userData).raw("}")
	} else {
		j.bytes(m.Assignment)
	}
	j.raw("}")
}

func (j *jsonText) subscription(s *subscription) {
	j.raw(`{"topics":[`)
	for i, t := range s.topics {
		if i > 0 {
			j.raw(",")
		}
		j.str(t)
	}
	j.raw(`],"userData":`).userData(s.userData)
	if s.version >= 1 {
		j.raw(`,"ownedPartitions":`).topics(s.owned)
	}
	if s.version >= 2 {
		j.raw(`,"generationId":`).int(int64(s.generation))
	}
	if s.version >= 3 {
		j.raw(`,"rackId":`).nullable(s.rack)
	}
	j.raw("}")
}

func (j *jsonText) topics(ts []topicPartitions) *jsonText {
	j.raw("[")
	for i := range ts {
		if i > 0 {
			j.raw(",")
		}
		j.raw(`{"topic":`).str(ts[i].topic).raw(`,"partitions":[`)
		for n, p := range ts[i].partitions {
			if n > 0 {
				j.raw(",")
			}
			j.int(int64(p))
		}
		j.raw("]}")
	}
	return j.raw("]")
}

func (j *jsonText) userData(b []byte) *jsonText {
	if b == nil {
		return j.raw("null")
	}
	return j.bytes(b)
}
