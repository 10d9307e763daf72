package batch

import (
	"errors"
	"fmt"
	"strings"
)

// What can be wrong with a batch. They come wrapped with the particulars.
var (
	// ErrShort: the bytes end before the batch does. Not damage by itself: a
	// read may stop within a batch.
	ErrShort = errors.New("batch: incomplete")
	// ErrCorrupt: length, magic or CRC can't be right (CORRUPT_MESSAGE).
	ErrCorrupt = errors.New("batch: corrupt")
	// ErrTooLarge: larger than the topic takes (MESSAGE_TOO_LARGE).
	ErrTooLarge = errors.New("batch: too large")
	// ErrInvalidRecord: a client may not send this (INVALID_RECORD).
	ErrInvalidRecord = errors.New("batch: invalid record")
	// ErrInvalidTimestamp: out of the topic's bounds (INVALID_TIMESTAMP).
	ErrInvalidTimestamp = errors.New("batch: invalid timestamp")
	// ErrUnsupportedCodec: codec 5 to 7 (Kafka answers UNKNOWN_SERVER_ERROR).
	ErrUnsupportedCodec = errors.New("batch: unsupported compression codec")
	// ErrDecompress: the records do not decompress (Kafka answers
	// UNKNOWN_SERVER_ERROR).
	ErrDecompress = errors.New("batch: records do not decompress")
	// ErrLimit: decompressed, the records are larger than Limits allow.
	ErrLimit = errors.New("batch: decompressed records exceed the limit")
)

// maxRecordErrors bounds how many bad records one answer names.
const maxRecordErrors = 100

// RecordError is one refused record.
type RecordError struct {
	// Index counts the records of the batch from 0.
	Index   int
	Message string
}

// RecordErrors tells which records made a batch refused (KIP-467). It wraps
// ErrInvalidRecord or ErrInvalidTimestamp.
type RecordErrors struct {
	Err error
	// Records are the first of them, at most 100; Total counts all.
	Records []RecordError
	Total   int
}

// Error has the words of Kafka's LogValidator, which clients are shown.
func (e *RecordErrors) Error() string {
	if e.Err == ErrInvalidTimestamp {
		return "One or more records have been rejected due to invalid timestamp"
	}
	var s strings.Builder
	fmt.Fprintf(&s, "One or more records have been rejected due to %d record errors in total, and only showing the first three errors at most: [", e.Total)
	for i, r := range e.Records[:min(3, len(e.Records))] {
		if i > 0 {
			s.WriteString(", ")
		}
		fmt.Fprintf(&s, "RecordError(batchIndex=%d, message='%s')", r.Index, r.Message)
	}
	s.WriteString("]")
	return s.String()
}

func (e *RecordErrors) Unwrap() error { return e.Err }

// add notes a record. One kind of error is reported, the first one met.
func (e *RecordErrors) add(err error, index int, message string) {
	if e.Err == nil {
		e.Err = err
	}
	if e.Err != err {
		return
	}
	e.Total++
	if len(e.Records) < maxRecordErrors {
		e.Records = append(e.Records, RecordError{Index: index, Message: message})
	}
}
