package registration

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
)

const (
	// RecordFile is our small file in each log directory. It tells a later
	// process of this broker which session was its own.
	RecordFile = ".barnabas-session"
	// LockFile is the file whose lock holds the directory.
	LockFile      = ".lock"
	recordVersion = 1
	maxRecord     = 4096
)

// record is the content of RecordFile.
type record struct {
	Version int            `json:"version"`
	Broker  kafka.BrokerID `json:"broker"`
	Session string         `json:"session"` // hex
	// Replaced is the session whose registration Session's was about to replace:
	// a process killed in between leaves that one standing.
	Replaced   string `json:"replaced,omitempty"` // hex
	MachineID  string `json:"machine_id"`
	BootID     string `json:"boot_id"`
	LockDevice uint64 `json:"lock_device"`
	LockInode  uint64 `json:"lock_inode"`
}

// encode adds a newline: humans read it.
func (r record) encode() []byte {
	b, err := json.Marshal(r)
	if err != nil {
		panic("registration: " + err.Error()) // only plain values
	}
	return append(b, '\n')
}

func decodeRecord(data []byte) (r record, session int64, err error) {
	if len(data) > maxRecord {
		return r, 0, errors.New("too long")
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, 0, err
	}
	if r.Version != recordVersion {
		return r, 0, fmt.Errorf("version %d", r.Version)
	}
	id, err := strconv.ParseUint(r.Session, 16, 64)
	return r, int64(id), err
}

// lockIdentity gives device and inode of a directory's lock file.
func (o *Options) lockIdentity(dir string) (device, inode uint64, err error) {
	if o.LockIdentity != nil {
		return o.LockIdentity(dir)
	}
	fi, err := o.FS.Stat(path.Join(dir, LockFile))
	if err != nil {
		return 0, 0, err
	}
	device, inode, ok := fileIdentity(fi)
	if !ok {
		return 0, 0, errors.New("this file system tells no inode")
	}
	return device, inode, nil
}

// remember writes the record of a session into every log directory, before the
// registration: a record without a registration does no harm. Directories that
// fail are logged; without their record the next start waits for the session.
func (r *Registrar) remember(session, replaced int64) {
	was := ""
	if replaced != 0 && replaced != session {
		was = strconv.FormatUint(uint64(replaced), 16)
	}
	for _, dir := range r.o.LogDirs {
		device, inode, err := r.o.lockIdentity(dir)
		if err == nil {
			err = vfs.WriteFileAtomic(r.o.FS, path.Join(dir, RecordFile), record{
				Version: recordVersion, Broker: r.o.BrokerID, Session: strconv.FormatUint(uint64(session), 16), Replaced: was,
				MachineID: r.o.MachineID, BootID: r.o.BootID, LockDevice: device, LockInode: inode,
			}.encode())
		}
		if err != nil {
			r.log.Warn("the session can't be recorded; a restart after a crash will wait for it to expire", "dir", dir, "err", err)
		}
	}
}

// recorded proves, as far as files can, that owner is the session of an earlier
// process of this broker on this machine that held the same locks which we hold
// now. The error says what is missing.
func (r *Registrar) recorded(owner int64) error {
	if len(r.o.LogDirs) == 0 {
		return errors.New("no log directory")
	}
	for _, dir := range r.o.LogDirs {
		data, err := vfs.ReadFile(r.o.FS, path.Join(dir, RecordFile), maxRecord)
		if err != nil {
			return err
		}
		rec, session, err := decodeRecord(data)
		if err != nil {
			return fmt.Errorf("%s: %w", path.Join(dir, RecordFile), err)
		}
		device, inode, err := r.o.lockIdentity(dir)
		if err != nil {
			return err
		}
		switch {
		case rec.Broker != r.o.BrokerID:
			return fmt.Errorf("%s is of broker %d", dir, rec.Broker)
		case session != owner && rec.Replaced != strconv.FormatUint(uint64(owner), 16):
			return fmt.Errorf("%s records another session", dir)
		case rec.LockDevice != device || rec.LockInode != inode:
			return fmt.Errorf("%s has another lock file than the earlier process had", dir)
		case !same(rec.MachineID, r.o.MachineID) && !same(rec.BootID, r.o.BootID):
			return fmt.Errorf("%s was used on another machine, or this machine has no id", dir)
		}
	}
	return nil
}

func same(a, b string) bool { return a != "" && a == b }

// MachineID reads the machine's id (systemd's), "" if it has none.
func MachineID(fs vfs.FS) string {
	for _, name := range []string{"/etc/machine-id", "/var/lib/dbus/machine-id"} {
		if b, err := vfs.ReadFile(fs, name, maxRecord); err == nil {
			if id := strings.TrimSpace(string(b)); id != "" && id != "uninitialized" {
				return id
			}
		}
	}
	return ""
}
