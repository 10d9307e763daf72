package log

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
	"barnabas/log/batch"
	"barnabas/log/checkpoint"
)

// script is the state of one text script. Commands:
//
//	open [crash] [segment-bytes=n] [index=n] [rp=n]     open the log; crash: on a clone of the disk
//	append [n=1] [id= epoch= seq=] [txn] [ts=seconds] [as=coordinator] [leader-epoch=1]
//	follow base=n [n=1] [leader-epoch=]                 append as a follower
//	marker id= [epoch=] [abort] [coordinator=]          end a transaction
//	read at= [max=] [to=] [one]                         which batches come, and what is cut
//	hw to= | start to= | truncate to= | restart to= | flush | retain [age=seconds] [bytes=] | close
//	damage file= at=                                    flip a byte
//	epoch of=                                           end offset for a leader epoch
//	time at= | aborted [from=] [to=]
//	state | producers | files
type script struct {
	t  *testing.T
	fs *vfs.Mem
	l  *Log
	o  Options
}

const scriptTime = 1_700_000_000_000

func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, file string) {
		s := &script{t: t, fs: newDisk(t)}
		datadriven.RunTest(t, file, func(t *testing.T, d *datadriven.TestData) string {
			out, err := s.run(d)
			if err != nil {
				out += "error: " + err.Error() + "\n"
			}
			return out
		})
	})
}

func (s *script) arg(d *datadriven.TestData, name string, def int64) int64 {
	if d.HasArg(name) {
		d.ScanArgs(s.t, name, &def)
	}
	return def
}

func (s *script) run(d *datadriven.TestData) (string, error) {
	to := s.arg(d, "to", 1<<40)
	switch d.Cmd {
	case "open":
		return s.open(d)
	case "append":
		return s.append(d)
	case "follow":
		b := makeBatch(s.t, int(s.arg(d, "n", 1)), "f", nil, false)
		batch.SetOffset(b, s.arg(d, "base", 0))
		batch.SetLeaderEpoch(b, int32(s.arg(d, "leader-epoch", 1)))
		info, err := s.l.AppendAsFollower(b)
		return appended(info, err), err
	case "marker":
		b := batch.EndTxnMarker(batch.Marker{
			ProducerID: s.arg(d, "id", 1), ProducerEpoch: int16(s.arg(d, "epoch", 0)), Commit: !d.HasArg("abort"),
			CoordinatorEpoch: int32(s.arg(d, "coordinator", 0)), Timestamp: scriptTime,
		})
		info, err := s.l.AppendAsLeader(b, 1, Coordinator)
		return appended(info, err), err
	case "read":
		return s.read(d)
	case "hw":
		return fmt.Sprintln(s.l.SetHighWatermark(to)), nil
	case "start":
		return "", s.l.IncrementStartOffset(to)
	case "truncate":
		err := s.l.TruncateTo(to)
		return s.state(), err
	case "restart":
		err := s.l.TruncateFullyAndStartAt(to)
		return s.state(), err
	case "flush":
		err := s.l.Flush()
		return s.state(), err
	case "retain":
		return s.retain(d)
	case "close":
		return "", s.l.Close()
	case "damage":
		return s.damage(d)
	case "epoch":
		e, end := s.l.EndOffsetForEpoch(kafka.LeaderEpoch(s.arg(d, "of", 0)))
		return fmt.Sprintf("epoch %d ends at %d\n", e, end), nil
	case "time":
		found, ok, err := s.l.OffsetForTime(scriptTime+1000*s.arg(d, "at", 0), to)
		return fmt.Sprintf("%v offset=%d timestamp=%d\n", ok, found.Offset, found.Timestamp), err
	case "aborted":
		txns, err := s.l.AbortedTxns(s.arg(d, "from", 0), to)
		return fmt.Sprintf("%+v\n", txns), err
	case "state":
		return s.state(), nil
	case "producers":
		return s.producers(), nil
	case "files":
		return s.files()
	}
	return "", fmt.Errorf("unknown command %q", d.Cmd)
}

func (s *script) open(d *datadriven.TestData) (string, error) {
	crash := d.HasArg("crash")
	if crash {
		s.fs = s.fs.CrashClone(100)
	}
	if !crash || s.o.SegmentBytes == 0 {
		s.o = DefaultOptions()
	}
	s.o.SegmentBytes = s.arg(d, "segment-bytes", max(s.o.SegmentBytes, 300))
	s.o.IndexIntervalBytes = int(s.arg(d, "index", 100))
	point := s.arg(d, "rp", 0)
	if s.l != nil && !d.HasArg("rp") {
		point = s.l.RecoveryPoint()
	}
	l, err := tryOpen(s.fs, s.o, func(o *OpenOptions) {
		o.Clean, o.RecoveryPoint, o.ProducerIDExpiration, o.VerifyTransactions = !crash, point, 1<<62, d.HasArg("verify")
		if s.l != nil {
			o.StartOffset = s.l.StartOffset()
		}
	})
	if err != nil {
		return "", err
	}
	s.l = l
	return s.state(), nil
}

func (s *script) append(d *datadriven.TestData) (string, error) {
	o := batch.BuilderOptions{Transactional: d.HasArg("txn")}
	if d.HasArg("id") {
		o.Producer = &batch.Producer{ID: s.arg(d, "id", 0), Epoch: int16(s.arg(d, "epoch", 0)), Sequence: int32(s.arg(d, "seq", 0))}
	}
	b := batch.NewBuilder(o)
	for i := range s.arg(d, "n", 1) {
		b.Append(scriptTime+1000*s.arg(d, "ts", 0), []byte("k"), fmt.Appendf(nil, "v%d", i))
	}
	recs, err := b.Bytes()
	if err != nil {
		return "", err
	}
	origin := Client
	if d.HasArg("as") {
		origin = Coordinator
	}
	info, err := s.l.AppendAsLeader(recs, kafka.LeaderEpoch(s.arg(d, "leader-epoch", 1)), origin)
	return appended(info, err), err
}

func appended(info AppendInfo, err error) string {
	switch {
	case err != nil:
		return ""
	case info.Duplicate:
		return fmt.Sprintf("duplicate of %d-%d\n", info.FirstOffset, info.LastOffset)
	}
	return fmt.Sprintf("%d-%d, %d bytes\n", info.FirstOffset, info.LastOffset, info.Bytes)
}

func (s *script) read(d *datadriven.TestData) (string, error) {
	res, err := s.l.Read(s.arg(d, "at", 0), int(s.arg(d, "max", 1<<20)), s.arg(d, "to", s.l.EndOffset()), d.HasArg("one"))
	if err != nil {
		return "", err
	}
	if res.Range.Length == 0 {
		return "nothing\n", nil
	}
	defer res.Range.Release()
	b := []byte(rangeBytes(s.t, &res.Range))
	var out strings.Builder
	fmt.Fprintf(&out, "%s at %d:", path.Base(res.Range.File.Name()), res.Range.Offset)
	for {
		h, _, rest, err := batch.Next(b)
		if err != nil {
			break
		}
		fmt.Fprintf(&out, " %d-%d", h.BaseOffset, h.LastOffset())
		b = rest
	}
	if len(b) > 0 {
		fmt.Fprintf(&out, " and %d bytes", len(b))
	}
	if res.FirstIncomplete {
		out.WriteString(", first incomplete")
	}
	return out.String() + "\n", nil
}

func (s *script) retain(d *datadriven.TestData) (string, error) {
	o := s.o
	o.RetentionBytes, o.RetentionAge = s.arg(d, "bytes", -1), -1
	if d.HasArg("age") {
		o.RetentionAge = time.Duration(s.arg(d, "age", 0)) * time.Second
	}
	s.l.SetOptions(o)
	n, err := s.l.Retain(time.UnixMilli(scriptTime + 1000*s.arg(d, "now", 0)))
	return fmt.Sprintf("%d deleted\n", n) + s.state(), err
}

func (s *script) damage(d *datadriven.TestData) (string, error) {
	var name string
	d.ScanArgs(s.t, "file", &name)
	f, err := s.fs.OpenReadWrite(path.Join("/d/t-0", name))
	if err != nil {
		return "", err
	}
	b, at := make([]byte, 1), s.arg(d, "at", 0)
	if _, err := f.ReadAt(b, at); err != nil {
		return "", err
	}
	b[0] ^= 0xff
	_, err = f.WriteAt(b, at)
	return "", errors.Join(err, f.Close())
}

func (s *script) state() string {
	var out strings.Builder
	l := s.l
	fmt.Fprintf(&out, "start=%d end=%d hw=%d lso=%d rp=%d\n", l.StartOffset(), l.EndOffset(), l.HighWatermark(), l.LastStableOffset(), l.RecoveryPoint())
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, g := range l.segments {
		fmt.Fprintf(&out, "segment %d: %d bytes, %d index entries\n", g.base, g.size.Load(), g.offsets.Len())
	}
	fmt.Fprintf(&out, "epochs %v\n", l.epochs.entries)
	return out.String()
}

func (s *script) producers() string {
	var out strings.Builder
	for _, p := range s.l.ActiveProducers() {
		fmt.Fprintf(&out, "%d: epoch %d, sequence %d, coordinator %d, transaction from %d\n", p.ID, p.Epoch, p.LastSequence, p.CoordinatorEpoch, p.TxnStartOffset)
	}
	return out.String()
}

func (s *script) files() (string, error) {
	names, err := s.fs.List("/d/t-0")
	var out strings.Builder
	for _, name := range names {
		st, err := s.fs.Stat(path.Join("/d/t-0", name))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&out, "%s %d", name, st.Size())
		if strings.HasSuffix(name, snapshotSuffix) {
			entries, err := checkpoint.ReadSnapshot(s.fs, path.Join("/d/t-0", name))
			fmt.Fprintf(&out, " (%d producers, %v)", len(entries), err)
		}
		out.WriteByte('\n')
	}
	return out.String(), err
}
