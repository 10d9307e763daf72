package checkpoint

import (
	"bytes"

	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
)

// What a partition.metadata has before the topic id, which ends the file.
const (
	metadataVersion = "version: 0"
	metadataTopicID = "topic_id: "
)

// ReadPartitionMetadata reads the topic id in a partition.metadata.
func ReadPartitionMetadata(fs vfs.FS, name string) (kafka.TopicID, error) {
	data, err := vfs.ReadFile(fs, name, 4096)
	if err != nil {
		return kafka.TopicID{}, err
	}
	return DecodePartitionMetadata(name, data)
}

// DecodePartitionMetadata reads the content of a partition.metadata; name is for
// errors.
func DecodePartitionMetadata(name string, data []byte) (kafka.TopicID, error) {
	version, rest, _ := bytes.Cut(data, []byte{'\n'})
	if string(version) != metadataVersion {
		return kafka.TopicID{}, &CorruptError{File: name, Line: 1, What: "it is not \"" + metadataVersion + "\""}
	}
	text, ok := bytes.CutPrefix(bytes.TrimSuffix(rest, []byte{'\n'}), []byte(metadataTopicID))
	id, err := kafka.ParseTopicID(string(text))
	if !ok || err != nil || id.IsZero() {
		return kafka.TopicID{}, &CorruptError{File: name, Line: 2, What: "there is no topic id"}
	}
	return id, nil
}

// WritePartitionMetadata replaces a partition.metadata. The caller syncs it and its
// directory before the log takes its first record.
func WritePartitionMetadata(fs vfs.FS, name string, id kafka.TopicID) error {
	return vfs.ReplaceFile(fs, name, EncodePartitionMetadata(id))
}

// EncodePartitionMetadata returns the 43 bytes of a partition.metadata.
func EncodePartitionMetadata(id kafka.TopicID) []byte {
	return []byte(metadataVersion + "\n" + metadataTopicID + id.String())
}
