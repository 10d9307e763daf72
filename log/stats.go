package log

import "barnabas/internal/metrics"

// Collect writes Kafka's LogManager and LogFlushStats, and how full the
// directories are.
func (m *Manager) Collect(p *metrics.Page) {
	dirs := m.Dirs()
	offline := int64(0)
	for i := range dirs {
		if dirs[i].Err != nil {
			offline++
		}
	}
	p.Gauge("kafka_log_logmanager_offlinelogdirectorycount", "Log directories that have failed.", offline)
	each := func(name, help string, value func(d *DirStatus) (int64, bool)) {
		p.Family(name, metrics.GaugeKind, help)
		for i := range dirs {
			if v, ok := value(&dirs[i]); ok {
				p.Int(v, "logDirectory", dirs[i].Path)
			}
		}
	}
	each("kafka_log_logmanager_logdirectoryoffline", "1 for a log directory that has failed.", func(d *DirStatus) (int64, bool) {
		if d.Err != nil {
			return 1, true
		}
		return 0, true
	})
	each("barnabas_log_directory_logs", "Logs in a log directory.", func(d *DirStatus) (int64, bool) { return int64(d.Logs), true })
	each("barnabas_log_directory_log_bytes", "Bytes of the logs in a log directory.", func(d *DirStatus) (int64, bool) { return d.Bytes, true })
	each("barnabas_log_directory_free_bytes", "Bytes that are free on the disk of a log directory.", func(d *DirStatus) (int64, bool) {
		return int64(d.Usage.Free), d.Err == nil
	})
	each("barnabas_log_directory_size_bytes", "Size of the disk of a log directory.", func(d *DirStatus) (int64, bool) {
		return int64(d.Usage.Total), d.Err == nil
	})
	each("barnabas_log_directory_full", "1 where producers are refused because the disk of a log directory is nearly full.", func(d *DirStatus) (int64, bool) {
		if d.Full {
			return 1, true
		}
		return 0, d.Err == nil
	})
	p.Gauge("barnabas_log_open_segments", "Segment files that are open.", int64(m.OpenFiles()))
	p.Family("kafka_log_logflushstats_logflushrateandtimems", metrics.SummaryKind, "Milliseconds of flushes of a log.")
	p.Summary(&m.flushes, 1000)
}
