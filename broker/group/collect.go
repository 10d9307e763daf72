package group

import "barnabas/internal/metrics"

// Collect writes Kafka's GroupMetadataManager.
func (c *Coordinator) Collect(p *metrics.Page) {
	n := c.Count()
	const prefix = "kafka_coordinator_group_groupmetadatamanager_"
	for _, g := range []struct {
		name, help string
		v          int
	}{
		{"numgroups", "Groups that this broker coordinates.", n.Groups()},
		{"numoffsets", "Committed offsets of those groups.", n.Offsets},
		{"numgroupsempty", "Groups without members.", n.States[Empty]},
		{"numgroupspreparingrebalance", "Groups that wait for members to join.", n.States[PreparingRebalance]},
		{"numgroupscompletingrebalance", "Groups that wait for their assignment.", n.States[CompletingRebalance]},
		{"numgroupsstable", "Groups at work.", n.States[Stable]},
		{"numgroupsdead", "Groups that are being removed.", n.States[Dead]},
	} {
		p.Gauge(prefix+g.name, g.help, int64(g.v))
	}
	c.collectLag(p)
	p.Gauge("barnabas_group_members", "Members of the groups that this broker coordinates.", int64(n.Members))
	p.Gauge("barnabas_group_partitions_loading", "Partitions of __consumer_offsets that are being read.", int64(n.Loading))
}
