package log

// In returns the logs in a directory, one of DirStatus.Path, in no order.
func (m *Manager) In(dir string) []*Log {
	for _, d := range m.dirs {
		if d.path == dir {
			return m.in(d)
		}
	}
	return nil
}

// CheckpointStartOffsets writes the log-start-offset-checkpoint files that have
// changed now, so that what DeleteRecords deleted stays deleted over a crash.
// A directory where that fails is offline.
func (m *Manager) CheckpointStartOffsets() error { return m.eachDir((*logDir).saveStartOffsets) }

// Failure is why the log's directory is offline (ErrOffline), or nil.
func (l *Log) Failure() error { return l.offline.get() }
