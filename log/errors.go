package log

import (
	"errors"
	"fmt"

	"barnabas/internal/kafka"
)

// What operations on a log can answer, besides the errors of log/batch. They
// come wrapped with the particulars.
var (
	// ErrOffsetOutOfRange: below the log start offset or above the end.
	ErrOffsetOutOfRange = errors.New("log: offset out of range")
	// ErrRecordListTooLarge: the batch is larger than a segment may be.
	ErrRecordListTooLarge = errors.New("log: batch larger than a segment")
	// ErrOffline: the directory failed; nothing works on it until a restart.
	ErrOffline = errors.New("log: directory offline")
	// ErrNoRoom: the directory's disk has less room than is kept free, or none.
	// Nothing was appended; what was asked for may be tried again later.
	ErrNoRoom = errors.New("log: the disk of the log directory is full")
	// ErrStalled: a write or sync has not come back for longer than it may take.
	ErrStalled = errors.New("log: disk does not answer")
	// ErrClosed: the log was closed or deleted.
	ErrClosed = errors.New("log: closed")
	// ErrNotFound: the broker should have this log but has not.
	ErrNotFound = errors.New("log: no such log")
	// ErrOpening: the log is still being checked after the start.
	ErrOpening = errors.New("log: still being checked after the start")
	// ErrMissing: the log was here and is gone, with its directory or disk.
	ErrMissing = errors.New("log: the log that was here is missing")
	// ErrTopicIDMismatch: the log belongs to another topic of this name.
	ErrTopicIDMismatch = errors.New("log: topic id differs")
	// ErrNonMonotonic: a follower's batch begins below the log's end.
	ErrNonMonotonic = errors.New("log: offsets of a replicated batch do not follow the end of the log")

	// ErrOutOfOrderSequence: a producer's sequence leaves a gap.
	ErrOutOfOrderSequence = errors.New("log: out of order sequence number")
	// ErrInvalidProducerEpoch: a newer instance of the producer has written.
	ErrInvalidProducerEpoch = errors.New("log: producer epoch is older than the latest")
	// ErrInvalidTxnState: data outside a transaction while one is open, or not
	// verified.
	ErrInvalidTxnState = errors.New("log: invalid transaction state")
	// ErrCoordinatorFenced: a marker of an older transaction coordinator.
	ErrCoordinatorFenced = errors.New("log: transaction coordinator fenced")
)

// CorruptionError tells of bytes that can't be what was written.
type CorruptionError struct {
	File     string
	Position int64
	Err      error
}

func (e *CorruptionError) Error() string {
	return fmt.Sprintf("log: %s corrupt at byte %d: %v", e.File, e.Position, e.Err)
}

func (e *CorruptionError) Unwrap() error { return e.Err }

// rangeError is ErrOffsetOutOfRange with the bounds.
func rangeError(tp kafka.TopicPartition, offset, start, end int64) error {
	return fmt.Errorf("%w: %s has offsets %d to %d, asked for %d", ErrOffsetOutOfRange, tp, start, end, offset)
}
