// Package dumplog prints what is in the files of a log: batches and records,
// indexes, producer snapshots, checkpoints; with the flags and the output of
// Kafka's DumpLogSegments.
package dumplog

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"path"
	"strconv"
	"strings"

	"barnabas/internal/vfs"
	"barnabas/log/batch"
	"barnabas/log/checkpoint"
)

// Options are the flags of the command.
type Options struct {
	// Files are the paths to print, each told by its suffix (--files).
	Files []string
	// PrintDataLog prints keys and values (--print-data-log); it implies
	// DeepIteration, and so does a decoder.
	PrintDataLog bool
	// DeepIteration prints each record, not only batches (--deep-iteration).
	DeepIteration bool
	// OffsetsDecoder, if not nil, makes the text of a record of
	// __consumer_offsets (--offsets-decoder); empty texts are not shown.
	OffsetsDecoder func(offset int64, key, value []byte) (keyText, payload string)
	// TransactionLogDecoder reads records of __transaction_state
	// (--transaction-log-decoder).
	TransactionLogDecoder bool
	// KeyDecoder and ValueDecoder make the texts of other records
	// (--key-decoder-class, --value-decoder-class); default UTF-8.
	KeyDecoder, ValueDecoder Decoder
	// IndexSanityCheck only checks indexes as a starting broker does
	// (--index-sanity-check).
	IndexSanityCheck bool
	// VerifyIndexOnly compares indexes with the segment and prints none of it
	// (--verify-index-only).
	VerifyIndexOnly bool
	// SkipRecordMetadata leaves out offsets and the like of each record
	// (--skip-record-metadata).
	SkipRecordMetadata bool
	// MaxMessageSize is the largest batch expected behind an index entry, in
	// bytes (--max-message-size); default 5 MiB.
	MaxMessageSize int
	// MaxBytes stops after that many bytes of each .log file (--max-bytes); 0 is
	// the whole file.
	MaxBytes int64
}

// Run prints the files to stdout and what is wrong in them to stderr. It returns
// the first failure to read a file; the files after that are not printed.
func Run(fs vfs.FS, stdout, stderr io.Writer, o Options) error {
	if o.MaxMessageSize <= 0 {
		o.MaxMessageSize = 5 << 20
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = math.MaxInt64
	}
	out := bufio.NewWriterSize(stdout, 64<<10)
	d := &dumper{fs: fs, out: out, errs: stderr, o: o, codecs: batch.NewCodecs(batch.Limits{})}
	for _, file := range o.Files {
		d.printf("Dumping %s\n", file)
		if err := d.file(file); err != nil {
			out.Flush()
			d.report()
			return err
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	d.report()
	return nil
}

// dumper prints files and collects what is wrong in them.
type dumper struct {
	fs     vfs.FS
	out    *bufio.Writer
	errs   io.Writer
	o      Options
	codecs *batch.Codecs
	wrong  findings
}

// printf leaves write errors to Flush.
func (d *dumper) printf(format string, args ...any) { fmt.Fprintf(d.out, format, args...) }

// complain writes to stderr at once, after what stands before it on stdout.
func (d *dumper) complain(format string, args ...any) {
	d.out.Flush()
	fmt.Fprintf(d.errs, format+"\n", args...)
}

func (d *dumper) file(file string) error {
	switch name := path.Base(file); path.Ext(name) {
	case ".log":
		return d.log(file)
	case ".index":
		return d.offsetIndex(file)
	case ".timeindex":
		return d.timeIndex(file)
	case ".txnindex":
		return d.txnIndex(file)
	case ".snapshot":
		return d.snapshot(file)
	default:
		return d.checkpoint(file, name)
	}
}

// baseOffset is the offset in a file's name.
func baseOffset(file string) (int64, error) {
	digits, _, _ := strings.Cut(path.Base(file), ".")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%s: its name does not begin with an offset", file)
	}
	return n, nil
}

// sibling is the file of the same segment with another suffix.
func sibling(file, suffix string) string {
	digits, _, _ := strings.Cut(path.Base(file), ".")
	return path.Join(path.Dir(file), digits+suffix)
}

// snapshot prints the producers of a snapshot.
func (d *dumper) snapshot(file string) error {
	producers, err := checkpoint.ReadSnapshot(d.fs, file)
	if isDamage(err) {
		d.complain("%v", err)
		return nil
	}
	if err != nil {
		return err
	}
	for _, p := range producers {
		d.printf("producerId: %d producerEpoch: %d coordinatorEpoch: %d currentTxnFirstOffset: %s lastTimestamp: %d ",
			p.ID, p.Epoch, p.CoordinatorEpoch, optional(p.TxnFirstOffset, p.TxnFirstOffset >= 0), p.LastTimestamp)
		if p.LastOffset >= 0 {
			d.printf("firstSequence: %d lastSequence: %d lastOffset: %d offsetDelta: %d timestamp: %d",
				firstSequence(p.LastSequence, p.OffsetDelta), p.LastSequence, p.LastOffset, p.OffsetDelta, p.LastTimestamp)
		}
		d.printf("\n")
	}
	return nil
}

// firstSequence is last - delta, where 2^31-1 stands before 0.
func firstSequence(last, delta int32) int32 {
	if last >= delta {
		return last - delta
	}
	return math.MaxInt32 - (delta - last) + 1
}

// optional is the text of java.util.OptionalLong.
func optional(v int64, ok bool) string {
	if !ok {
		return "OptionalLong.empty"
	}
	return "OptionalLong[" + strconv.FormatInt(v, 10) + "]"
}
