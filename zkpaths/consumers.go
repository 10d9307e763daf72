package zkpaths

import (
	"strconv"
	"strings"

	"barnabas/internal/kafka"
)

// Consumers is the parent of what old consumers kept.
const Consumers = "/consumers"

// ConsumerOffsetPath holds an offset that OffsetCommit v0 stored.
func ConsumerOffsetPath(group string, tp kafka.TopicPartition) string {
	return child(Consumers, group) + "/offsets/" + tp.Topic + "/" + strconv.Itoa(int(tp.Partition))
}

// EncodeConsumerOffset writes the offset in decimal.
func EncodeConsumerOffset(offset int64) []byte { return strconv.AppendInt(nil, offset, 10) }

// DecodeConsumerOffset reads it.
func DecodeConsumerOffset(data []byte) (int64, error) {
	if len(data) > 32 {
		return 0, dataErrorf("consumer offset", "%q is not a number", clip(data))
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	if err != nil {
		return 0, dataErrorf("consumer offset", "%q is not a number", data)
	}
	return n, nil
}
