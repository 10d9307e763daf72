package dumplog

import (
	"cmp"
	"errors"
	"maps"
	"slices"

	"barnabas/internal/kafka"
	"barnabas/log/checkpoint"
	"barnabas/log/index"
)

// checkpoint prints the text files, which Kafka's tool ignores.
func (d *dumper) checkpoint(file, name string) error {
	var err error
	switch name {
	case checkpoint.EpochsFile:
		var epochs []checkpoint.Epoch
		epochs, err = checkpoint.ReadEpochs(d.fs, file)
		for _, e := range epochs {
			d.printf("epoch: %d startOffset: %d\n", e.Epoch, e.StartOffset)
		}
	case checkpoint.PartitionMetadataFile:
		var id kafka.TopicID
		if id, err = checkpoint.ReadPartitionMetadata(d.fs, file); err == nil {
			d.printf("topicId: %s\n", id)
		}
	case checkpoint.RecoveryPointFile, checkpoint.LogStartFile, checkpoint.HighWatermarkFile, checkpoint.CleanerFile:
		err = d.offsets(file)
	case checkpoint.MetaPropertiesFile:
		var m checkpoint.Meta
		if m, err = checkpoint.ReadMeta(d.fs, file); err == nil {
			d.printf("version: %d brokerId: %d clusterId: %s directoryId: %s\n", m.Version, m.BrokerID, m.ClusterID, m.DirectoryID)
		}
	default:
		d.complain("Ignoring unknown file %s", file)
	}
	if isDamage(err) {
		d.complain("%v", err)
		return nil
	}
	return err
}

func (d *dumper) offsets(file string) error {
	offsets, err := checkpoint.ReadOffsets(d.fs, file)
	partitions := slices.SortedFunc(maps.Keys(offsets), func(x, y kafka.TopicPartition) int {
		return cmp.Or(cmp.Compare(x.Topic, y.Topic), cmp.Compare(x.Partition, y.Partition))
	})
	for _, tp := range partitions {
		d.printf("topic: %s partition: %d offset: %d\n", tp.Topic, tp.Partition, offsets[tp])
	}
	return err
}

// isDamage tells bad content from a file that can't be read.
func isDamage(err error) bool {
	return errors.Is(err, checkpoint.ErrCorrupt) || errors.Is(err, index.ErrCorrupt)
}
