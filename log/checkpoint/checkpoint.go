// Package checkpoint reads and writes the small files beside the segments:
// offset checkpoints, leader epochs, partition.metadata, meta.properties and
// producer snapshots, in Kafka's exact bytes (docs/format/log.md).
//
// Text files are replaced atomically and durably (vfs.WriteFileAtomic). Readers
// are strict and bounded: damage is a *CorruptError with file and line, which
// wraps ErrCorrupt; an absent file is fs.ErrNotExist.
package checkpoint

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"barnabas/internal/vfs"
)

// ErrCorrupt: the file is not what it should be.
var ErrCorrupt = errors.New("checkpoint: corrupt")

// CorruptError tells what is wrong with a file.
type CorruptError struct {
	File string
	// Line counts from 1; 0 is the file as a whole.
	Line int
	What string
}

func (e *CorruptError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%v: %s: %s", ErrCorrupt, e.File, e.What)
	}
	return fmt.Sprintf("%v: %s, line %d: %s", ErrCorrupt, e.File, e.Line, e.What)
}

func (e *CorruptError) Unwrap() error { return ErrCorrupt }

// Names of the files in a log directory.
const (
	RecoveryPointFile  = "recovery-point-offset-checkpoint"
	LogStartFile       = "log-start-offset-checkpoint"
	HighWatermarkFile  = "replication-offset-checkpoint"
	CleanerFile        = "cleaner-offset-checkpoint"
	MetaPropertiesFile = "meta.properties"
	CleanShutdownFile  = ".kafka_cleanshutdown"
	LockFile           = ".lock"
)

// Names of the files in a partition's directory.
const (
	EpochsFile            = "leader-epoch-checkpoint"
	PartitionMetadataFile = "partition.metadata"
)

// CleanShutdownMarker is the content of CleanShutdownFile.
const CleanShutdownMarker = `{"version":0,"brokerEpoch":-1}`

// maxTextBytes bounds the text files: some millions of entries.
const maxTextBytes = 256 << 20

// table is a text checkpoint: version 0, the number of entries, a line for each
// (org.apache.kafka.server.common.CheckpointFile).
const tableVersion = "0"

// encodeTable begins a text checkpoint of n entries.
func encodeTable(n int) []byte {
	b := append([]byte(tableVersion), '\n')
	return append(strconv.AppendInt(b, int64(n), 10), '\n')
}

// decodeTable calls fn with the words of each entry. An empty file has none.
func decodeTable(name string, data []byte, words int, fn func(fields [][]byte) error) error {
	if len(data) == 0 {
		return nil
	}
	line := 0
	next := func() []byte {
		line++
		text, rest, _ := bytes.Cut(data, []byte{'\n'})
		data = rest
		return text
	}
	bad := func(format string, args ...any) error {
		return &CorruptError{File: name, Line: line, What: fmt.Sprintf(format, args...)}
	}
	if version := next(); string(version) != tableVersion {
		return bad("version %.20q instead of %s", version, tableVersion)
	}
	text := next()
	n, err := strconv.ParseUint(string(text), 10, 31)
	if err != nil {
		return bad("%.20q is no number of entries", text)
	}
	for i := range n {
		if len(data) == 0 {
			return bad("%d entries where the head says %d", i, n)
		}
		text := next()
		fields := bytes.Fields(text)
		if len(fields) != words {
			return bad("%.80q has not %d words", text, words)
		}
		if err := fn(fields); err != nil {
			return bad("%.80q: %v", text, err)
		}
	}
	if len(data) != 0 {
		line++
		return bad("more than the %d entries that the head says", n)
	}
	return nil
}

var (
	errNegative  = errors.New("negative")
	errDuplicate = errors.New("a second entry")
	errOrder     = errors.New("out of order")
)

// number reads a number ≥ 0 of so many bits, the sign's included.
func number(text []byte, bits int) (int64, error) {
	n, err := strconv.ParseInt(string(text), 10, bits)
	if err == nil && n < 0 {
		err = errNegative
	}
	return n, err
}

func readText(fs vfs.FS, name string) ([]byte, error) { return vfs.ReadFile(fs, name, maxTextBytes) }
