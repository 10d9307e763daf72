package conf

// txnKeys: Transactions and idempotent producers.
func txnKeys() []Key {
	return []Key{
		{Name: "transaction.state.log.replication.factor", Type: Short, Default: "3", Valid: atLeast(1), Status: Built,
			Doc: "Replicas of __transaction_state."},
		{Name: "transaction.state.log.num.partitions", Type: Int, Default: "50", Valid: atLeast(1), Status: Built,
			Doc: "Partitions of __transaction_state. Never change it after the first start."},
		{Name: "transaction.state.log.min.isr", Type: Int, Default: "2", Valid: atLeast(1), Status: Built,
			Doc: "min.insync.replicas of __transaction_state."},
		{Name: "transaction.state.log.segment.bytes", Type: Int, Default: "104857600", Valid: atLeast(1), Status: Built,
			Doc: "Segment size of __transaction_state."},
		{Name: "transaction.state.log.load.buffer.size", Type: Int, Default: "5242880", Valid: atLeast(1), Status: Harmless,
			Doc: "Bytes read at once while transactional ids are loaded. Transactions are not built yet."},
		{Name: "transactional.id.expiration.ms", Type: Int, Default: "604800000", Valid: atLeast(1), Status: Harmless,
			Doc: "How long an unused transactional id is remembered. Transactions are not built yet."},
		{Name: "transaction.max.timeout.ms", Type: Int, Default: "900000", Valid: atLeast(1), Status: Harmless,
			Doc: "Longest transaction timeout that a producer may ask for. Transactions are not built yet."},
		{Name: "transaction.abort.timed.out.transaction.cleanup.interval.ms", Type: Int, Default: "10000", Valid: atLeast(1), Status: Harmless,
			Doc: "How often transactions that ran out of time are aborted. Transactions are not built yet."},
		{Name: "transaction.remove.expired.transaction.cleanup.interval.ms", Type: Int, Default: "3600000", Valid: atLeast(1), Status: Harmless,
			Doc: "How often expired transactional ids are removed. Transactions are not built yet."},
		{Name: "transaction.partition.verification.enable", Type: Boolean, Default: "true", Mode: ClusterWide, Status: Harmless,
			Doc: "Check that a partition belongs to the transaction before writing to it (KIP-890). Transactions are not built yet."},
		{Name: "producer.id.expiration.ms", Type: Int, Default: "86400000", Valid: atLeast(1), Mode: ClusterWide, Status: Built,
			Doc: "How long the state of an idempotent producer that writes no more is kept."},
		{Name: "producer.id.expiration.check.interval.ms", Type: Int, Default: "600000", Valid: atLeast(1), Internal: true, Status: Built,
			Doc: "How often that is looked at."},
	}
}
