package dumplog

import (
	"fmt"

	"barnabas/internal/vfs"
	"barnabas/log/batch"
	"barnabas/log/index"
)

// segment opens the segment that an index belongs to.
func (d *dumper) segment(file string) (f vfs.File, size int64, err error) {
	if f, err = d.fs.Open(sibling(file, ".log")); err != nil {
		return nil, 0, err
	}
	if size, err = f.Size(); err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, size, nil
}

func (d *dumper) offsetIndex(file string) error {
	base, err := baseOffset(file)
	if err != nil {
		return err
	}
	if _, err := d.fs.Stat(file); err != nil {
		return err
	}
	x, err := index.OpenOffset(index.Options{FS: d.fs, Name: file, BaseOffset: base})
	if err != nil {
		return err
	}
	if x.Len() == 0 {
		d.printf("%s is empty.\n", file)
		return nil
	}
	f, size, err := d.segment(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if d.o.IndexSanityCheck {
		return d.sanity(file, x.Check(size))
	}
	for i := range x.Len() {
		e, err := x.Entry(i)
		if err != nil {
			return err
		}
		found := int64(-1)
		if _, err := eachBatch(f, e.Position, min(size, e.Position+int64(d.o.MaxMessageSize)), func(_ int64, h *batch.Header, _ []byte) bool {
			found = h.LastOffset()
			return false
		}); err != nil {
			return err
		}
		if found != e.Offset {
			d.wrong.add(&d.wrong.mismatches, file, e.Offset, found)
		}
		if !d.o.VerifyIndexOnly {
			d.printf("offset: %d position: %d\n", e.Offset, e.Position)
		}
	}
	return nil
}

func (d *dumper) sanity(file string, err error) error {
	if isDamage(err) {
		d.complain("%v", err)
		return nil
	}
	if err == nil {
		d.printf("%s passed sanity check.\n", file)
	}
	return err
}

func (d *dumper) timeIndex(file string) error {
	base, err := baseOffset(file)
	if err != nil {
		return err
	}
	if _, err := d.fs.Stat(file); err != nil {
		return err
	}
	times, err := index.OpenTime(index.Options{FS: d.fs, Name: file, BaseOffset: base})
	if err != nil {
		return err
	}
	if d.o.IndexSanityCheck {
		return d.sanity(file, times.Check())
	}
	offsets, err := index.OpenOffset(index.Options{FS: d.fs, Name: sibling(file, ".index"), BaseOffset: base})
	if err != nil {
		return err
	}
	f, size, err := d.segment(file)
	if err != nil {
		return err
	}
	defer f.Close()
	previous := int64(-1)
	for i := range times.Len() {
		e, err := times.Entry(i)
		if err != nil {
			return err
		}
		if err := d.timeEntry(file, f, size, offsets, e, previous); err != nil {
			return err
		}
		if !d.o.VerifyIndexOnly {
			d.printf("timestamp: %d offset: %d\n", e.Timestamp, e.Offset)
		}
		previous = e.Timestamp
	}
	return nil
}

// timeEntry compares an entry with the batch that it names.
func (d *dumper) timeEntry(file string, f vfs.File, size int64, offsets *index.OffsetIndex, e index.TimeEntry, previous int64) error {
	at, err := offsets.Lookup(e.Offset)
	if err != nil {
		return err
	}
	found, largest := int64(-1), int64(-1)
	_, err = eachBatch(f, at.Position, size, func(_ int64, h *batch.Header, b []byte) bool {
		if h.LastOffset() < e.Offset {
			return true
		}
		found = h.LastOffset()
		for r, err := range batch.Records(b, d.codecs) {
			if err != nil {
				d.complain("Error in the batch at offset %d: %v", h.BaseOffset, err)
				break
			}
			largest = max(largest, r.Timestamp)
		}
		return false
	})
	switch {
	case err != nil:
		return err
	case found != e.Offset:
		d.wrong.add(&d.wrong.missing, file, e.Offset, found)
		return nil
	case largest != e.Timestamp:
		d.wrong.add(&d.wrong.timestamps, file, e.Timestamp, largest)
	}
	if previous >= e.Timestamp {
		d.wrong.add(&d.wrong.order, file, e.Timestamp, previous)
	}
	return nil
}

func (d *dumper) txnIndex(file string) error {
	base, err := baseOffset(file)
	if err != nil {
		return err
	}
	if _, err := d.fs.Stat(file); err != nil {
		return err
	}
	x, err := index.OpenTxn(index.Options{FS: d.fs, Name: file, BaseOffset: base})
	if err != nil {
		return err
	}
	if err := x.Check(); err != nil {
		return d.sanity(file, err)
	}
	for i := range x.Len() {
		t, err := x.Entry(i)
		if err != nil {
			return err
		}
		d.printf("version: 0 producerId: %d firstOffset: %d lastOffset: %d lastStableOffset: %d\n", t.ProducerID, t.FirstOffset, t.LastOffset, t.LastStableOffset)
	}
	return nil
}

// findings are what is wrong, by kind and file, told at the end.
type findings struct {
	mismatches, timestamps, order, missing, gaps []finding
}

type finding struct {
	file  string
	pairs [][2]int64
}

// maxFindings bounds what is told of a file.
const maxFindings = 10_000

func (w *findings) add(kind *[]finding, file string, first, second int64) {
	list := *kind
	if len(list) == 0 || list[len(list)-1].file != file {
		list = append(list, finding{file: file})
	}
	if f := &list[len(list)-1]; len(f.pairs) < maxFindings {
		f.pairs = append(f.pairs, [2]int64{first, second})
	}
	*kind = list
}

// report tells the findings in Kafka's words.
func (d *dumper) report() {
	w := &d.wrong
	for _, kind := range []struct {
		list       []finding
		head, line string
	}{
		{w.mismatches, "Mismatches in :%s\n", "  Index offset: %d, log offset: %d\n"},
		{w.timestamps, "Found timestamp mismatch in :%s\n", "  Index timestamp: %d, log timestamp: %d\n"},
		{w.order, "Found out of order timestamp in :%s\n", "  Index timestamp: %d, Previously indexed timestamp: %d\n"},
		{w.missing, "The following indexed offsets are not found in the log: %s\n", "Indexed offset: %d, found log offset: %d\n"},
		{w.gaps, "Non-consecutive offsets in %s\n", "  %d is followed by %d\n"},
	} {
		for _, f := range kind.list {
			fmt.Fprintf(d.errs, kind.head, f.file)
			for _, pair := range f.pairs {
				fmt.Fprintf(d.errs, kind.line, pair[0], pair[1])
			}
		}
	}
}
