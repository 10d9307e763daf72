// Package downconvert gives pieces of segments to old clients: a range of
// batches becomes a range that reads as messages of format 0 or 1 (KIP-283).
//
// Nothing is converted ahead of its reader. A converted range is a file whose
// ReadAt must be called in order, as a socket's writer does; it opens one batch
// at a time and keeps what that became until it is read, by memory that
// Request.Hold gives. So a connection holds at most one batch beside the copy buffer
// of its writer, and the first batches of its answer's partitions as far as
// Request.Keep allows. How many batches are converted at once in all connections
// together is bounded by Options.Concurrent.
//
// The size of a range must be known before it is sent, and no conversion is known
// before it is made. As in Apache Kafka the range keeps the length that its data
// have in the log, or that of its first batch where conversion makes that one
// longer; what does not fit is left for the next fetch, and what is missing is
// filled by a message that is never complete (batch.Filler).
//
// A Converter may be used by many goroutines, a converted range by one at a time.
package downconvert

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"

	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
	"barnabas/log/batch"
)

// ErrNothing: none of the batches in a range can be converted, since all of them
// are damaged. It wraps what is wrong with the first.
var ErrNothing = errors.New("downconvert: no batch can be converted")

// ErrOrder: a converted range was not read from its begin to its end.
var ErrOrder = errors.New("downconvert: read out of order")

// Options of a Converter. Codecs is required.
type Options struct {
	Codecs *batch.Codecs
	// Concurrent bounds how many batches are converted at once. Default: the number
	// of processors, at least 2.
	Concurrent int
	// Logger is told of batches that are left out because they are damaged.
	// Default: nothing is logged.
	Logger *slog.Logger
}

// Converter converts ranges.
type Converter struct {
	o       Options
	slots   chan struct{}
	skipped atomic.Int64

	mu   sync.Mutex // guards last
	last place
}

// place is where a damaged batch was found.
type place struct {
	tp     kafka.TopicPartition
	offset int64
}

// New returns a Converter.
func New(o Options) *Converter {
	if o.Concurrent <= 0 {
		o.Concurrent = max(2, runtime.GOMAXPROCS(0))
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Converter{o: o, slots: make(chan struct{}, o.Concurrent)}
}

// Skipped counts the damaged batches that were left out, each time anew.
func (c *Converter) Skipped() int64 { return c.skipped.Load() }

// Request asks for a conversion.
type Request struct {
	TP kafka.TopicPartition
	// Range is what was read from the log. It begins with a batch and may end
	// within one.
	Range vfs.Range
	// Magic is the format that the client understands, 0 or 1.
	Magic int8
	// From is the offset that the client asked for.
	From int64
	// Keep reports whether n bytes, what the first batch became, may be kept until
	// the range is sent, and does not wait; else the batch is converted again then.
	Keep func(n int64) bool
	// Hold waits for memory for n bytes, of a batch that is converted and kept until
	// it is read. An error of it ends the reading. Nobody holds two at a time, and who
	// holds one waits for nothing but the reader and a processor.
	Hold func(n int64) (Memory, error)
}

// Memory is what Request.Hold has given.
type Memory interface {
	// Resize makes it n bytes and does not wait.
	Resize(n int64)
	// Release ends it.
	Release()
}

// Convert returns a range that reads as messages of the old format, and takes
// r.Range over: it is released with the result, or here if there is an error or
// nothing to send. The result has no bytes if r.Range has no whole batch. It
// fails with batch.ErrNoOldForm if the first batch is compressed with zstd, with
// ErrNothing, and with errors of reading the file.
func (c *Converter) Convert(r *Request) (vfs.Range, error) {
	s := &stream{
		c: c, tp: r.TP, src: r.Range, hold: r.Hold,
		rules: batch.DownRules{Magic: r.Magic, From: r.From, Codecs: c.o.Codecs},
	}
	length, err := s.open(r.Keep)
	if err != nil || length == 0 {
		r.Range.Release()
		return vfs.Range{}, err
	}
	s.length = length
	return vfs.Range{File: &file{File: r.Range.File, s: s}, Length: length, OnRelease: s.release}, nil
}

// skip notes a damaged batch. A reader that comes again and again to the same
// place is not told of again and again.
func (c *Converter) skip(tp kafka.TopicPartition, offset int64, err error) {
	c.skipped.Add(1)
	at := place{tp, offset}
	c.mu.Lock()
	known := c.last == at
	c.last = at
	c.mu.Unlock()
	if !known {
		c.o.Logger.Warn("damaged batch left out for an old client", "topic", tp.Topic, "partition", tp.Partition, "offset", offset, "error", err)
	}
}

// file is a stream as a file, of which only ReadAt is used.
type file struct {
	vfs.File
	s *stream
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	if off != f.s.at {
		return 0, fmt.Errorf("%w: %s at %d instead of %d", ErrOrder, f.Name(), off, f.s.at)
	}
	n, err := f.s.read(p)
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}
