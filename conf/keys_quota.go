package conf

import (
	"net"
	"strconv"
)

// hostPort allows host:port.
func hostPort(v any) string {
	if v.(string) == "" { // as if it were not set
		return ""
	}
	_, port, err := net.SplitHostPort(v.(string))
	if err != nil {
		return "Must be host:port"
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "Port must be between 0 and 65535"
	}
	return ""
}

// quotaKeys: Metrics and quotas.
func quotaKeys() []Key {
	return []Key{
		{Name: "barnabas.http.listen", Type: String, NoDefault: true, Valid: rule{check: hostPort, allowed: "host:port; an empty host is every interface, port 0 any free one"}, Status: Built,
			Doc: "Where health and metrics are answered by HTTP: /livez, /readyz, /startupz and /metrics for Prometheus. Not set: nowhere. There is no authentication: keep the address private. The listener opens before logs are recovered."},
		{Name: "barnabas.http.pprof", Type: Boolean, Default: "false", Status: Built,
			Doc: "Serve the Go profiler below /debug/pprof of barnabas.http.listen."},
		{Name: "metric.reporters", Type: List, Mode: ClusterWide, Status: Harmless,
			Doc: "Java classes that report metrics. Java classes cannot be loaded."},
		{Name: "auto.include.jmx.reporter", Type: Boolean, Default: "true", Status: Harmless,
			Doc: "Report metrics by JMX. There is no JVM here."},
		{Name: "metrics.num.samples", Type: Int, Default: "2", Valid: atLeast(1), Status: Harmless,
			Doc: "Samples kept per metric."},
		{Name: "metrics.sample.window.ms", Type: Long, Default: "30000", Valid: atLeast(1), Status: Harmless,
			Doc: "Window of one sample."},
		{Name: "metrics.recording.level", Type: String, Default: "INFO", Status: Harmless,
			Doc: "How many metrics are recorded."},
		{Name: "kafka.metrics.reporters", Type: List, Status: Harmless,
			Doc: "Java classes that report metrics. Java classes cannot be loaded."},
		{Name: "kafka.metrics.polling.interval.secs", Type: Int, Default: "10", Valid: atLeast(1), Status: Harmless,
			Doc: "Interval of those reporters."},
		{Name: "telemetry.max.bytes", Type: Int, Default: "1048576", Valid: atLeast(1), Status: Harmless,
			Doc: "Largest metrics push of a client; used without ZooKeeper only."},
		{Name: "quota.window.num", Type: Int, Default: "11", Valid: atLeast(1), Status: Harmless,
			Doc: "Samples kept for client quotas."},
		{Name: "quota.window.size.seconds", Type: Int, Default: "1", Valid: atLeast(1), Status: Harmless,
			Doc: "Window of one sample for client quotas."},
		{Name: "replication.quota.window.num", Type: Int, Default: "11", Valid: atLeast(1), Status: Built,
			Doc: "Samples kept for replication throttles."},
		{Name: "replication.quota.window.size.seconds", Type: Int, Default: "1", Valid: atLeast(1), Status: Built,
			Doc: "Window of one sample for replication throttles."},
		{Name: "alter.log.dirs.replication.quota.window.num", Type: Int, Default: "11", Valid: atLeast(1), Status: Harmless,
			Doc: "Samples kept for throttles between directories."},
		{Name: "alter.log.dirs.replication.quota.window.size.seconds", Type: Int, Default: "1", Valid: atLeast(1), Status: Harmless,
			Doc: "Window of one sample for throttles between directories."},
		{Name: "controller.quota.window.num", Type: Int, Default: "11", Valid: atLeast(1), Status: Harmless,
			Doc: "Samples kept for quotas on topic changes."},
		{Name: "controller.quota.window.size.seconds", Type: Int, Default: "1", Valid: atLeast(1), Status: Harmless,
			Doc: "Window of one sample for quotas on topic changes."},
		{Name: "client.quota.callback.class", Type: Class, NoDefault: true, Status: Weaker,
			Doc: "A Java class that decides quotas. Java classes cannot be loaded."},
		{Name: "leader.replication.throttled.rate", Type: Long, NoDefault: true, Valid: atLeast(0), Mode: ClusterWide, Status: Built, Stored: true,
			Doc: "Bytes per second that a broker sends to followers of the replicas in leader.replication.throttled.replicas of their topics, as long as these are out of sync."},
		{Name: "follower.replication.throttled.rate", Type: Long, NoDefault: true, Valid: atLeast(0), Mode: ClusterWide, Status: Built, Stored: true,
			Doc: "Bytes per second that a broker copies for the replicas in follower.replication.throttled.replicas of their topics, as long as these are out of sync."},
		{Name: "replica.alter.log.dirs.io.max.bytes.per.second", Type: Long, NoDefault: true, Valid: atLeast(0), Mode: ClusterWide, Status: Built, Stored: true,
			Doc: "Bytes per second that a broker copies between its own log directories."},
	}
}
