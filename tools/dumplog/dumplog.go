// Package dumplog prints what is in the files of a log: records, indexes,
// producer snapshots, epoch checkpoints; with the flags and in the style of
// Kafka's DumpLogSegments.
package dumplog

import (
	"io"

	"barnabas/internal/vfs"
)

// Options are the flags of the command.
type Options struct {
	// Files are the paths to print, each told by its suffix (--files).
	Files []string
	// PrintDataLog prints keys, values and headers (--print-data-log).
	PrintDataLog bool
	// DeepIteration prints each record, not only batches (--deep-iteration).
	DeepIteration bool
	// OffsetsDecoder reads records of __consumer_offsets (--offsets-decoder).
	OffsetsDecoder bool
	// TransactionLogDecoder reads records of __transaction_state
	// (--transaction-log-decoder).
	TransactionLogDecoder bool
	// IndexSanityCheck only checks indexes (--index-sanity-check).
	IndexSanityCheck bool
	// VerifyIndexOnly checks indexes and prints nothing else
	// (--verify-index-only).
	VerifyIndexOnly bool
	// SkipRecordMetadata leaves out offsets and the like of each record
	// (--skip-record-metadata).
	SkipRecordMetadata bool
	// MaxMessageSize is the largest batch expected, in bytes
	// (--max-message-size); default 5 MiB.
	MaxMessageSize int
	// MaxBytes stops after that many bytes of each .log file (--max-bytes).
	MaxBytes int64
}

// Run prints the files to out. It returns the first failure to read one;
// damage inside a file is reported in the output.
func Run(fs vfs.FS, out io.Writer, o Options) error { return nil }
