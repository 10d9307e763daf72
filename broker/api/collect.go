package api

import "barnabas/internal/metrics"

// Collect writes the part of Kafka's BrokerTopicMetrics that fetches count, and
// the fetch sessions.
func (a *API) Collect(p *metrics.Page) {
	total, failed := a.Fetched()
	p.Meter("kafka_server_brokertopicmetrics_totalfetchrequests", "Reads asked for, one for each partition of a fetch.", func() { p.Int(total) })
	p.Meter("kafka_server_brokertopicmetrics_failedfetchrequests", "Reads that failed unexpectedly.", func() { p.Int(failed) })
	p.Gauge("kafka_server_fetchsessioncache_numincrementalfetchsessions", "Incremental fetch sessions.", int64(a.FetchSessions()))
}
