package checkpoint

import (
	"cmp"
	"maps"
	"slices"
	"strconv"

	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
)

// ReadOffsets reads an offset checkpoint. An empty file holds no entries.
func ReadOffsets(fs vfs.FS, name string) (map[kafka.TopicPartition]int64, error) {
	data, err := readText(fs, name)
	if err != nil {
		return nil, err
	}
	return DecodeOffsets(name, data)
}

// DecodeOffsets reads the content of an offset checkpoint; name is for errors.
func DecodeOffsets(name string, data []byte) (map[kafka.TopicPartition]int64, error) {
	offsets := map[kafka.TopicPartition]int64{}
	err := decodeTable(name, data, 3, func(fields [][]byte) error {
		partition, err := number(fields[1], 32)
		if err != nil {
			return err
		}
		offset, err := number(fields[2], 64)
		if err != nil {
			return err
		}
		tp := kafka.TopicPartition{Topic: string(fields[0]), Partition: int32(partition)}
		if _, ok := offsets[tp]; ok {
			return errDuplicate
		}
		offsets[tp] = offset
		return nil
	})
	if err != nil {
		return nil, err
	}
	return offsets, nil
}

// WriteOffsets replaces an offset checkpoint, entries sorted.
func WriteOffsets(fs vfs.FS, name string, offsets map[kafka.TopicPartition]int64) error {
	return vfs.WriteFileAtomic(fs, name, EncodeOffsets(offsets))
}

// EncodeOffsets returns the content of an offset checkpoint.
func EncodeOffsets(offsets map[kafka.TopicPartition]int64) []byte {
	b := encodeTable(len(offsets))
	partitions := slices.SortedFunc(maps.Keys(offsets), func(x, y kafka.TopicPartition) int {
		return cmp.Or(cmp.Compare(x.Topic, y.Topic), cmp.Compare(x.Partition, y.Partition))
	})
	for _, tp := range partitions {
		b = append(append(b, tp.Topic...), ' ')
		b = append(strconv.AppendInt(b, int64(tp.Partition), 10), ' ')
		b = append(strconv.AppendInt(b, offsets[tp], 10), '\n')
	}
	return b
}
