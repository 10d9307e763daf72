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
	m.collectCleaner(p)
}

// collectCleaner writes Kafka's LogCleaner and LogCleanerManager.
func (m *Manager) collectCleaner(p *metrics.Page) {
	st := m.CleanerStats()
	recopied := int64(0)
	if st.BytesRead > 0 {
		recopied = 100 * st.BytesKept / st.BytesRead
	}
	p.Gauge("kafka_log_logcleaner_cleaner_recopy_percent", "What compaction kept of what it read, in percent of bytes.", recopied)
	p.Gauge("kafka_log_logcleaner_max_clean_time_secs", "Seconds of the longest compaction.", int64(st.MaxDuration.Seconds()))
	p.Gauge("kafka_log_logcleaner_max_compaction_delay_secs", "By how many seconds the largest lag of a topic is exceeded.", int64(st.MaxDelay.Seconds()))
	p.Gauge("kafka_log_logcleaner_deadthreadcount", "Always 0: a log that can't be compacted stops none of the others.", 0)
	p.Gauge("kafka_log_logcleanermanager_max_dirty_percent", "Percent of the dirtiest log that compaction has not looked at.", int64(100*st.MaxDirtyRatio))
	p.Gauge("kafka_log_logcleanermanager_time_since_last_run_ms", "Milliseconds since logs were last looked at for compaction.", st.SinceLast.Milliseconds())
	p.Gauge("kafka_log_logcleanermanager_uncleanable_partitions_count", "Partitions that are damaged, and so not compacted, or not as a whole.", int64(len(st.Uncleanable)))
	p.Gauge("kafka_log_logcleanermanager_uncleanable_bytes", "Bytes of the partitions that are damaged, and so not compacted, or not as a whole.", st.UncleanableBytes)
	p.Counter("barnabas_log_compactions_total", "Compactions of a log.", st.Runs)
	p.Counter("barnabas_log_compaction_read_bytes_total", "Bytes that compactions have read.", st.BytesRead)
	p.Counter("barnabas_log_compaction_kept_bytes_total", "Bytes that compactions have kept.", st.BytesKept)
	p.Counter("barnabas_log_compaction_unread_batches_total", "Batches that compaction kept since their records can't be read.", st.Unread)
	p.Gauge("barnabas_log_compactions_running", "Logs that are being compacted.", int64(st.Running))
}
