package devzk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"barnabas/internal/vfs"
)

// A log file is a magic (8 bytes) and records: length of the payload, CRC-32C of
// the payload (4 bytes each), payload. It is named by the zxid after which it
// begins, as a snapshot is by the last that it holds.
var logMagic = []byte("bzklog\x00\x01")

const (
	logPrefix      = "log."
	snapshotPrefix = "snapshot."
	recordHeader   = 8
	// maxRecord bounds what a record may claim; multi's paths and data come from
	// one request, each with a few bytes more here.
	maxRecord = 256 << 20
	// snapshotBytes of log make a snapshot, however few transactions they are.
	snapshotBytes = 64 << 20
)

// store is the directory of a server that keeps its state.
//
// Only what holds Server.mu appends and rolls; mu guards what the goroutines
// that wait for the disk share.
type store struct {
	fs   vfs.FS
	dir  string
	lock io.Closer

	// Guarded by Server.mu.
	size  int64 // of the current file
	count int   // transactions in it
	buf   []byte
	// snapshots are the zxids of those on disk, ascending.
	snapshots []int64
	busy      bool // a snapshot is being written

	mu       sync.Mutex // guards the following
	changed  sync.Cond  // syncing or synced changed
	file     vfs.File   // the current one
	old      []vfs.File // full ones, to be synced and closed
	newNames bool       // the directory is to be synced
	written  uint64     // number of the last transaction written
	synced   uint64     // of the last known to be on disk
	syncing  bool
	err      error // of a sync; never tried again
}

func fileName(prefix string, zxid int64) string { return fmt.Sprintf("%s%016x", prefix, zxid) }

// openStore recovers the state from o.Dir into s, whose other fields are set.
func (s *Server) openStore() (err error) {
	st := &store{fs: s.opts.FS, dir: s.opts.Dir}
	st.changed.L = &st.mu
	if err := st.fs.MkdirAll(st.dir); err != nil {
		return fmt.Errorf("devzk: %w", err)
	}
	if err := st.fs.SyncDir(path.Dir(st.dir)); err != nil {
		return fmt.Errorf("devzk: %w", err)
	}
	if st.lock, err = st.fs.Lock(path.Join(st.dir, "lock")); err != nil {
		return fmt.Errorf("devzk: %w", err)
	}
	defer func() {
		if err != nil {
			st.lock.Close()
		}
	}()
	logs, err := st.list(logPrefix)
	if err != nil {
		return err
	}
	if st.snapshots, err = st.list(snapshotPrefix); err != nil {
		return err
	}
	if err := s.recoverSnapshot(st); err != nil {
		return err
	}
	end, err := s.recoverLogs(st, logs)
	if err != nil {
		return err
	}
	if end.name == "" {
		err = st.begin(s.zxid)
	} else {
		st.file, err = st.fs.OpenReadWrite(path.Join(st.dir, end.name))
		st.size, st.count = end.size, end.count
	}
	if err != nil {
		return fmt.Errorf("devzk: %w", err)
	}
	s.store = st
	if s.zxid == 0 {
		return nil
	}
	// What a crashed machine forgot, clients may remember: zxids go on far above,
	// as those of a new leader do.
	epoch := txn{zxid: (s.zxid>>32 + 1) << 32, time: time.Now().UnixMilli(), kind: txnEpoch}
	if err := s.commitLocked(&epoch); err != nil {
		return err
	}
	return st.sync(s.lastTxn)
}

// list gives the zxids in the names of the files of one kind, ascending.
func (st *store) list(prefix string) ([]int64, error) {
	names, err := st.fs.List(st.dir)
	if err != nil {
		return nil, fmt.Errorf("devzk: %w", err)
	}
	var zxids []int64
	for _, name := range names {
		if hex, ok := strings.CutPrefix(name, prefix); ok && len(hex) == 16 {
			if zxid, err := strconv.ParseInt(hex, 16, 64); err == nil {
				zxids = append(zxids, zxid)
			}
		}
	}
	slices.Sort(zxids)
	return zxids, nil
}

// recoverSnapshot loads the newest that is whole.
func (s *Server) recoverSnapshot(st *store) error {
	for i := len(st.snapshots) - 1; i >= 0; i-- {
		name := path.Join(st.dir, fileName(snapshotPrefix, st.snapshots[i]))
		b, err := st.readFile(name)
		if err != nil {
			return fmt.Errorf("devzk: %w", err)
		}
		if s.loadSnapshot(b) == nil {
			return nil
		}
		s.log.Error("damaged snapshot, using an older one", "file", name)
	}
	if len(st.snapshots) > 0 {
		return fmt.Errorf("%w: no snapshot in %s is whole", errBadSnapshot, st.dir)
	}
	return nil
}

func (st *store) readFile(name string) ([]byte, error) {
	f, err := st.fs.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b, nil
}

// logEnd is where appending goes on.
type logEnd struct {
	name  string
	size  int64
	count int
}

// recoverLogs replays what the snapshot lacks. Where a record is torn the log
// ends: the file is cut there and what comes after is set aside.
func (s *Server) recoverLogs(st *store, logs []int64) (logEnd, error) {
	var end logEnd
	for i, first := range logs {
		if i+1 < len(logs) && logs[i+1] <= s.zxid {
			continue // older than the snapshot
		}
		name := fileName(logPrefix, first)
		b, err := st.readFile(path.Join(st.dir, name))
		if err != nil {
			return end, fmt.Errorf("devzk: %w", err)
		}
		size, count := s.replayLog(b)
		end = logEnd{name, int64(size), count}
		if size == len(b) {
			continue
		}
		s.log.Warn("transaction log cut at a torn record", "file", name, "position", size, "bytes", len(b)-size)
		if err := st.cut(&end, logs[i+1:]); err != nil {
			return end, fmt.Errorf("devzk: cutting %s: %w", name, err)
		}
		return end, nil
	}
	return end, nil
}

// replayLog does what is new of one file and gives the length of its whole part.
func (s *Server) replayLog(b []byte) (size, count int) {
	if len(b) < len(logMagic) || string(b[:len(logMagic)]) != string(logMagic) {
		return 0, 0
	}
	size = len(logMagic)
	for len(b)-size >= recordHeader {
		n := int64(binary.BigEndian.Uint32(b[size:]))
		if n > maxRecord || n > int64(len(b)-size-recordHeader) {
			break
		}
		payload := b[size+recordHeader:][:n]
		if crc32.Checksum(payload, castagnoli) != binary.BigEndian.Uint32(b[size+4:]) {
			break
		}
		t, err := decodeTxn(payload)
		if err != nil || t.zxid > s.zxid && s.replay(&t) != nil {
			break
		}
		size += recordHeader + int(n)
		count++
	}
	return size, count
}

// cut shortens a log to its whole part and sets later ones aside.
func (st *store) cut(end *logEnd, later []int64) error {
	f, err := st.fs.OpenReadWrite(path.Join(st.dir, end.name))
	if err != nil {
		return err
	}
	if end.size == 0 {
		// Not even the magic: a file whose creation was cut short.
		_, err = f.WriteAt(logMagic, 0)
		end.size = int64(len(logMagic))
	}
	err = errors.Join(err, f.Truncate(end.size))
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	for _, zxid := range later {
		name := path.Join(st.dir, fileName(logPrefix, zxid))
		if err := st.fs.Rename(name, name+".lost"); err != nil {
			return err
		}
	}
	return st.fs.SyncDir(st.dir)
}

// begin starts a log file for what comes after zxid. Server.mu is held, or the
// server is not running yet.
func (st *store) begin(zxid int64) error {
	f, err := st.fs.Create(path.Join(st.dir, fileName(logPrefix, zxid)))
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(logMagic, 0); err != nil {
		return errors.Join(err, f.Close())
	}
	st.size, st.count = int64(len(logMagic)), 0
	st.mu.Lock()
	if st.file != nil {
		st.old = append(st.old, st.file)
	}
	st.file, st.newNames = f, true
	st.mu.Unlock()
	return nil
}

// append writes one transaction. Server.mu is held. After an error the store is
// not to be used any more.
func (st *store) append(t *txn, number uint64) error {
	b := append(st.buf[:0], make([]byte, recordHeader)...)
	b = t.append(b)
	binary.BigEndian.PutUint32(b, uint32(len(b)-recordHeader))
	binary.BigEndian.PutUint32(b[4:], crc32.Checksum(b[recordHeader:], castagnoli))
	if cap(b) <= keepBuffer {
		st.buf = b
	}
	if _, err := st.file.WriteAt(b, st.size); err != nil {
		return err
	}
	st.size += int64(len(b))
	st.count++
	st.mu.Lock()
	st.written = number
	st.mu.Unlock()
	return nil
}

// sync returns when a transaction and all before it are on disk. Those who come
// while one syncs wait for it and then share the next.
func (st *store) sync(number uint64) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	for st.err == nil && st.synced < number {
		if st.syncing {
			st.changed.Wait()
			continue
		}
		st.syncing = true
		target, file, old, newNames := st.written, st.file, st.old, st.newNames
		st.old, st.newNames = nil, false
		st.mu.Unlock()
		err := st.syncFiles(file, old, newNames)
		st.mu.Lock()
		st.syncing = false
		if st.synced = target; err != nil {
			st.err = err
		}
		st.changed.Broadcast()
	}
	return st.err
}

func (st *store) syncFiles(file vfs.File, old []vfs.File, newNames bool) error {
	var errs error
	for _, f := range old {
		errs = errors.Join(errs, f.Sync(), f.Close())
	}
	errs = errors.Join(errs, file.Sync())
	if newNames {
		errs = errors.Join(errs, st.fs.SyncDir(st.dir))
	}
	return errs
}

// close syncs and gives the directory back. Nothing else runs any more.
func (st *store) close() error {
	st.mu.Lock()
	written, failed := st.written, st.err
	st.mu.Unlock()
	var err error
	if failed == nil {
		err = st.sync(written)
	}
	for _, f := range st.old {
		err = errors.Join(err, f.Close())
	}
	return errors.Join(err, st.file.Close(), st.lock.Close())
}

// rollLocked replaces a long log by a snapshot, which is written in the
// background. The state is whole: no request is half done.
func (s *Server) rollLocked() error {
	st := s.store
	if st == nil || st.busy || st.count == 0 || st.count < s.opts.SnapshotEvery && st.size < snapshotBytes {
		return nil
	}
	if err := st.begin(s.zxid); err != nil {
		err = fmt.Errorf("devzk: %w", err)
		s.stopLocked(err)
		return err
	}
	b, zxid, number := s.snapshotLocked(), s.zxid, s.lastTxn
	st.busy = true
	s.running.Go(func() {
		// The log first: should the snapshot turn out bad, it is what is left.
		err := st.sync(number)
		if err == nil {
			err = vfs.WriteFileAtomic(st.fs, path.Join(st.dir, fileName(snapshotPrefix, zxid)), b)
		}
		if err == nil {
			err = s.dropOld(zxid)
		}
		if err != nil {
			s.stop(fmt.Errorf("devzk: snapshot: %w", err))
		}
	})
	return nil
}

// dropOld removes what is older than the last two snapshots.
func (s *Server) dropOld(newest int64) error {
	st := s.store
	logs, err := st.list(logPrefix)
	if err != nil {
		return err
	}
	s.mu.Lock()
	st.busy = false
	st.snapshots = append(st.snapshots, newest)
	drop := max(len(st.snapshots)-2, 0)
	gone := st.snapshots[:drop]
	st.snapshots = slices.Clone(st.snapshots[drop:])
	oldest := st.snapshots[0]
	s.mu.Unlock()
	var names []string
	for _, zxid := range gone {
		names = append(names, fileName(snapshotPrefix, zxid))
	}
	for i, zxid := range logs {
		if len(gone) > 0 && i+1 < len(logs) && logs[i+1] <= oldest {
			names = append(names, fileName(logPrefix, zxid))
		}
	}
	for _, name := range names {
		if err := st.fs.Remove(path.Join(st.dir, name)); err != nil {
			return err
		}
	}
	return nil
}
