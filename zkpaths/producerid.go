package zkpaths

import (
	"math"

	"barnabas/internal/kafka"
)

// ProducerIDBlockPath holds the newest block of producer ids; null until the
// first one is asked for. It is updated by compare and set on its version.
const ProducerIDBlockPath = "/latest_producer_id_block"

// ProducerIDBlockSize is the number of ids in a block.
const ProducerIDBlockSize = 1000

// ProducerIDBlock is the content of the znode: ids First to Last, both
// included, given to Broker.
type ProducerIDBlock struct {
	Broker      kafka.BrokerID
	First, Last int64
}

type producerIDBlockJSON struct {
	Version int            `json:"version"`
	Broker  kafka.BrokerID `json:"broker"`
	First   *text          `json:"block_start"`
	Last    *text          `json:"block_end"`
}

// Encode writes version 1.
func (b ProducerIDBlock) Encode() []byte {
	return render(producerIDBlockJSON{1, b.Broker, (*text)(&b.First), (*text)(&b.Last)})
}

// DecodeProducerIDBlock reads the znode; ok is false for null data: no block
// was given yet.
func DecodeProducerIDBlock(data []byte) (b ProducerIDBlock, ok bool, err error) {
	if len(data) == 0 {
		return ProducerIDBlock{}, false, nil
	}
	var v producerIDBlockJSON
	if err := parse("producer id block", data, &v); err != nil {
		return ProducerIDBlock{}, false, err
	}
	if v.First == nil || v.Last == nil || *v.First < 0 || *v.Last < *v.First {
		return ProducerIDBlock{}, false, dataErrorf("producer id block", "no range in %q", clip(data))
	}
	return ProducerIDBlock{v.Broker, int64(*v.First), int64(*v.Last)}, true, nil
}

// NextProducerIDBlock is the block after the one in the znode's data, for
// broker. Running out of ids is an error.
func NextProducerIDBlock(data []byte, broker kafka.BrokerID) (ProducerIDBlock, error) {
	last, ok, err := DecodeProducerIDBlock(data)
	switch {
	case err != nil:
		return ProducerIDBlock{}, err
	case !ok:
		return ProducerIDBlock{broker, 0, ProducerIDBlockSize - 1}, nil
	case last.Last > math.MaxInt64-ProducerIDBlockSize:
		return ProducerIDBlock{}, dataErrorf("producer id block", "no ids left after %d", last.Last)
	}
	return ProducerIDBlock{broker, last.Last + 1, last.Last + ProducerIDBlockSize}, nil
}

// RescueProducerIDBlock is a block for when the znode was destroyed. Each block
// cost a transaction, so no id given up to zxid reaches a thousand times it.
func RescueProducerIDBlock(zxid int64, broker kafka.BrokerID) (ProducerIDBlock, error) {
	if zxid < 0 || zxid >= math.MaxInt64/ProducerIDBlockSize-1 {
		return ProducerIDBlock{}, dataErrorf("producer id block", "destroyed, and no id is safely new after transaction %d", zxid)
	}
	first := (zxid + 1) * ProducerIDBlockSize
	return ProducerIDBlock{broker, first, first + ProducerIDBlockSize - 1}, nil
}
