package api

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/protocol"
)

const maxKey = protocol.KeyConsumerGroupDescribe

// table has one line per API key that is served, and so advertised, with the
// versions. Sorted by key.
func table() []entry {
	return []entry{
		// Advertised from 0: older librdkafka compresses nothing otherwise
		// (librdkafka issue 4956, KAFKA-18659).
		{protocol.KeyProduce, 0, 11, (*API).produce},
		{protocol.KeyFetch, 0, 17, (*API).fetch},
		{protocol.KeyListOffsets, 0, 9, adapt(kmsg.NewPtrListOffsetsRequest, (*API).listOffsets)},
		{protocol.KeyMetadata, 0, 12, adapt(kmsg.NewPtrMetadataRequest, (*API).metadata)},
		{protocol.KeyControlledShutdown, 0, 3, adapt(kmsg.NewPtrControlledShutdownRequest, (*API).controlledShutdown)},
		{protocol.KeyOffsetCommit, 0, 9, adapt(kmsg.NewPtrOffsetCommitRequest, (*API).offsetCommit)},
		{protocol.KeyOffsetFetch, 0, 9, adapt(kmsg.NewPtrOffsetFetchRequest, (*API).offsetFetch)},
		{protocol.KeyFindCoordinator, 0, 6, adapt(kmsg.NewPtrFindCoordinatorRequest, (*API).findCoordinator)},
		{protocol.KeyJoinGroup, 0, 9, adapt(kmsg.NewPtrJoinGroupRequest, (*API).joinGroup)},
		{protocol.KeyHeartbeat, 0, 4, adapt(kmsg.NewPtrHeartbeatRequest, (*API).heartbeat)},
		{protocol.KeyLeaveGroup, 0, 5, adapt(kmsg.NewPtrLeaveGroupRequest, (*API).leaveGroup)},
		{protocol.KeySyncGroup, 0, 5, adapt(kmsg.NewPtrSyncGroupRequest, (*API).syncGroup)},
		{protocol.KeyDescribeGroups, 0, 5, adapt(kmsg.NewPtrDescribeGroupsRequest, (*API).describeGroups)},
		{protocol.KeyListGroups, 0, 5, adapt(kmsg.NewPtrListGroupsRequest, (*API).listGroups)},
		{protocol.KeyAPIVersions, 0, 4, adapt(kmsg.NewPtrApiVersionsRequest, (*API).apiVersions)},
		{protocol.KeyCreateTopics, 0, 7, adapt(kmsg.NewPtrCreateTopicsRequest, (*API).createTopics)},
		{protocol.KeyDeleteTopics, 0, 6, adapt(kmsg.NewPtrDeleteTopicsRequest, (*API).deleteTopics)},
		{protocol.KeyDeleteRecords, 0, 2, adapt(kmsg.NewPtrDeleteRecordsRequest, (*API).deleteRecords)},
		{protocol.KeyInitProducerID, 0, 5, adapt(kmsg.NewPtrInitProducerIDRequest, (*API).initProducerID)},
		{protocol.KeyOffsetForLeaderEpoch, 0, 4, adapt(kmsg.NewPtrOffsetForLeaderEpochRequest, (*API).offsetForLeaderEpoch)},
		{protocol.KeyDescribeConfigs, 0, 4, adapt(kmsg.NewPtrDescribeConfigsRequest, (*API).describeConfigs)},
		{protocol.KeyAlterConfigs, 0, 2, adapt(kmsg.NewPtrAlterConfigsRequest, (*API).alterConfigs)},
		{protocol.KeyAlterReplicaLogDirs, 0, 2, adapt(kmsg.NewPtrAlterReplicaLogDirsRequest, (*API).alterReplicaLogDirs)},
		{protocol.KeyDescribeLogDirs, 0, 4, adapt(kmsg.NewPtrDescribeLogDirsRequest, (*API).describeLogDirs)},
		{protocol.KeyCreatePartitions, 0, 3, adapt(kmsg.NewPtrCreatePartitionsRequest, (*API).createPartitions)},
		{protocol.KeyDeleteGroups, 0, 2, adapt(kmsg.NewPtrDeleteGroupsRequest, (*API).deleteGroups)},
		{protocol.KeyElectLeaders, 0, 2, adapt(kmsg.NewPtrElectLeadersRequest, (*API).electLeaders)},
		{protocol.KeyIncrementalAlterConfigs, 0, 1, adapt(kmsg.NewPtrIncrementalAlterConfigsRequest, (*API).incrementalAlterConfigs)},
		{protocol.KeyAlterPartitionReassignments, 0, 0, adapt(kmsg.NewPtrAlterPartitionAssignmentsRequest, (*API).alterPartitionReassignments)},
		{protocol.KeyListPartitionReassignments, 0, 0, adapt(kmsg.NewPtrListPartitionReassignmentsRequest, (*API).listPartitionReassignments)},
		{protocol.KeyOffsetDelete, 0, 0, adapt(kmsg.NewPtrOffsetDeleteRequest, (*API).offsetDelete)},
		{protocol.KeyAlterPartition, 0, 3, adapt(kmsg.NewPtrAlterPartitionRequest, (*API).alterPartition)},
		{protocol.KeyDescribeCluster, 0, 1, adapt(kmsg.NewPtrDescribeClusterRequest, (*API).describeCluster)},
		{protocol.KeyDescribeProducers, 0, 0, adapt(kmsg.NewPtrDescribeProducersRequest, (*API).describeProducers)},
		{protocol.KeyAllocateProducerIDs, 0, 0, adapt(kmsg.NewPtrAllocateProducerIDsRequest, (*API).allocateProducerIDs)},
	}
}
