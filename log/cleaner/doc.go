// Package cleaner holds what compaction (kafka.log.LogCleaner) decides by: Map,
// the latest offset of each key; Txns, which batches belong to aborted
// transactions and which markers may go; Throttle, how fast disks may be read and
// written. It does no I/O and knows no files: package log reads, writes and swaps
// segments, and uses these. None of the types is for use by many goroutines.
package cleaner
