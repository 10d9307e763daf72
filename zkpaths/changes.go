package zkpaths

import "fmt"

const (
	// MetadataChanges is the parent of our change log, with null data. Its
	// czxid is the log's identity. Apache Kafka has no such znode.
	MetadataChanges = "/metadata_changes"
	// MetadataChangePrefix begins the name of an entry.
	MetadataChangePrefix = "change_"
	// NewMetadataChange is what an entry is created with, persistent and
	// sequential.
	NewMetadataChange = MetadataChanges + "/" + MetadataChangePrefix
)

// MetadataChangePath is the path of entry n: numbers are predictable.
func MetadataChangePath(n int64) string { return fmt.Sprintf("%s%010d", NewMetadataChange, n) }

// ParseMetadataChange reads the number of a child of MetadataChanges.
func ParseMetadataChange(name string) (int64, bool) { return sequence(MetadataChangePrefix, name) }

// ParseMetadataChangePath reads the number of an entry's path.
func ParseMetadataChangePath(path string) (int64, bool) {
	name, ok := childOf(MetadataChanges, path)
	if !ok {
		return 0, false
	}
	return ParseMetadataChange(name)
}
