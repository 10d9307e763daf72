package protocol

import (
	"encoding/binary"
	"fmt"

	"barnabas/internal/kafka"
)

// TagSuspect is a tagged field of ours in DescribeCluster. In a request it names
// a registration whose process may be dead, and asks whether the broker sees
// the same (docs/coordination.md §7); in the answer it is one byte, 1 for yes.
// Brokers and clients that do not know it pass over it.
const TagSuspect = 0xba01

const suspectSize = 12

// AppendSuspect encodes a registration: id and epoch, big endian.
func AppendSuspect(dst []byte, id kafka.BrokerID, epoch kafka.BrokerEpoch) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(id))
	return binary.BigEndian.AppendUint64(dst, uint64(epoch))
}

// ParseSuspect reads what AppendSuspect wrote; what a later version adds is
// passed over.
func ParseSuspect(b []byte) (kafka.BrokerID, kafka.BrokerEpoch, error) {
	if len(b) < suspectSize {
		return kafka.NoBroker, 0, fmt.Errorf("%w: a suspect of %d bytes", ErrMalformed, len(b))
	}
	return kafka.BrokerID(binary.BigEndian.Uint32(b)), kafka.BrokerEpoch(binary.BigEndian.Uint64(b[4:])), nil
}
