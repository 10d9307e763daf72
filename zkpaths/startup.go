package zkpaths

// StartupPaths are the persistent znodes that each broker creates at its start,
// with null data, their parents likewise (KafkaZkClient.makeSurePersistentPathExists
// over ZkData.PersistentZkPaths).
func StartupPaths() []string {
	return []string{
		Consumers, BrokerIDs, Topics, ConfigChanges, DeleteTopics, BrokerSeqID,
		ISRChanges, ProducerIDBlockPath, LogDirEvents,
		ConfigRoot(ConfigTopics), ConfigRoot(ConfigClients), ConfigRoot(ConfigUsers), ConfigRoot(ConfigBrokers), ConfigRoot(ConfigIPs),
	}
}
