package protocol

import "strconv"

// The API keys of Kafka 3.9 with ZooKeeper.
const (
	KeyProduce                      int16 = 0
	KeyFetch                        int16 = 1
	KeyListOffsets                  int16 = 2
	KeyMetadata                     int16 = 3
	KeyLeaderAndISR                 int16 = 4
	KeyStopReplica                  int16 = 5
	KeyUpdateMetadata               int16 = 6
	KeyControlledShutdown           int16 = 7
	KeyOffsetCommit                 int16 = 8
	KeyOffsetFetch                  int16 = 9
	KeyFindCoordinator              int16 = 10
	KeyJoinGroup                    int16 = 11
	KeyHeartbeat                    int16 = 12
	KeyLeaveGroup                   int16 = 13
	KeySyncGroup                    int16 = 14
	KeyDescribeGroups               int16 = 15
	KeyListGroups                   int16 = 16
	KeySASLHandshake                int16 = 17
	KeyAPIVersions                  int16 = 18
	KeyCreateTopics                 int16 = 19
	KeyDeleteTopics                 int16 = 20
	KeyDeleteRecords                int16 = 21
	KeyInitProducerID               int16 = 22
	KeyOffsetForLeaderEpoch         int16 = 23
	KeyAddPartitionsToTxn           int16 = 24
	KeyAddOffsetsToTxn              int16 = 25
	KeyEndTxn                       int16 = 26
	KeyWriteTxnMarkers              int16 = 27
	KeyTxnOffsetCommit              int16 = 28
	KeyDescribeACLs                 int16 = 29
	KeyCreateACLs                   int16 = 30
	KeyDeleteACLs                   int16 = 31
	KeyDescribeConfigs              int16 = 32
	KeyAlterConfigs                 int16 = 33
	KeyAlterReplicaLogDirs          int16 = 34
	KeyDescribeLogDirs              int16 = 35
	KeySASLAuthenticate             int16 = 36
	KeyCreatePartitions             int16 = 37
	KeyCreateDelegationToken        int16 = 38
	KeyRenewDelegationToken         int16 = 39
	KeyExpireDelegationToken        int16 = 40
	KeyDescribeDelegationToken      int16 = 41
	KeyDeleteGroups                 int16 = 42
	KeyElectLeaders                 int16 = 43
	KeyIncrementalAlterConfigs      int16 = 44
	KeyAlterPartitionReassignments  int16 = 45
	KeyListPartitionReassignments   int16 = 46
	KeyOffsetDelete                 int16 = 47
	KeyDescribeClientQuotas         int16 = 48
	KeyAlterClientQuotas            int16 = 49
	KeyDescribeUserSCRAMCredentials int16 = 50
	KeyAlterUserSCRAMCredentials    int16 = 51
	KeyAlterPartition               int16 = 56
	KeyUpdateFeatures               int16 = 57
	KeyEnvelope                     int16 = 58
	KeyDescribeCluster              int16 = 60
	KeyDescribeProducers            int16 = 61
	KeyDescribeTransactions         int16 = 65
	KeyListTransactions             int16 = 66
	KeyAllocateProducerIDs          int16 = 67
	KeyConsumerGroupHeartbeat       int16 = 68
	KeyConsumerGroupDescribe        int16 = 69
)

// maxKey is the largest key of the table.
const maxKey = KeyConsumerGroupDescribe

// never is the first flexible version of a key that has none.
const never = 1 << 14

// apiInfo is one line of the table of keys.
type apiInfo struct {
	name string
	// max is the highest version; all of them begin at 0.
	max int16
	// flexible is the first version with compact lengths and tagged fields.
	flexible int16
}

// apis is what a broker of Kafka 3.9 offers with ZooKeeper
// (org.apache.kafka.common.protocol.ApiKeys, listener zkBroker).
var apis = [maxKey + 1]apiInfo{
	KeyProduce:                      {"Produce", 11, 9},
	KeyFetch:                        {"Fetch", 17, 12},
	KeyListOffsets:                  {"ListOffsets", 9, 6},
	KeyMetadata:                     {"Metadata", 12, 9},
	KeyLeaderAndISR:                 {"LeaderAndIsr", 7, 4},
	KeyStopReplica:                  {"StopReplica", 4, 2},
	KeyUpdateMetadata:               {"UpdateMetadata", 8, 6},
	KeyControlledShutdown:           {"ControlledShutdown", 3, 3},
	KeyOffsetCommit:                 {"OffsetCommit", 9, 8},
	KeyOffsetFetch:                  {"OffsetFetch", 9, 6},
	KeyFindCoordinator:              {"FindCoordinator", 6, 3},
	KeyJoinGroup:                    {"JoinGroup", 9, 6},
	KeyHeartbeat:                    {"Heartbeat", 4, 4},
	KeyLeaveGroup:                   {"LeaveGroup", 5, 4},
	KeySyncGroup:                    {"SyncGroup", 5, 4},
	KeyDescribeGroups:               {"DescribeGroups", 5, 5},
	KeyListGroups:                   {"ListGroups", 5, 3},
	KeySASLHandshake:                {"SaslHandshake", 1, never},
	KeyAPIVersions:                  {"ApiVersions", 4, 3},
	KeyCreateTopics:                 {"CreateTopics", 7, 5},
	KeyDeleteTopics:                 {"DeleteTopics", 6, 4},
	KeyDeleteRecords:                {"DeleteRecords", 2, 2},
	KeyInitProducerID:               {"InitProducerId", 5, 2},
	KeyOffsetForLeaderEpoch:         {"OffsetForLeaderEpoch", 4, 4},
	KeyAddPartitionsToTxn:           {"AddPartitionsToTxn", 5, 3},
	KeyAddOffsetsToTxn:              {"AddOffsetsToTxn", 4, 3},
	KeyEndTxn:                       {"EndTxn", 4, 3},
	KeyWriteTxnMarkers:              {"WriteTxnMarkers", 1, 1},
	KeyTxnOffsetCommit:              {"TxnOffsetCommit", 4, 3},
	KeyDescribeACLs:                 {"DescribeAcls", 3, 2},
	KeyCreateACLs:                   {"CreateAcls", 3, 2},
	KeyDeleteACLs:                   {"DeleteAcls", 3, 2},
	KeyDescribeConfigs:              {"DescribeConfigs", 4, 4},
	KeyAlterConfigs:                 {"AlterConfigs", 2, 2},
	KeyAlterReplicaLogDirs:          {"AlterReplicaLogDirs", 2, 2},
	KeyDescribeLogDirs:              {"DescribeLogDirs", 4, 2},
	KeySASLAuthenticate:             {"SaslAuthenticate", 2, 2},
	KeyCreatePartitions:             {"CreatePartitions", 3, 2},
	KeyCreateDelegationToken:        {"CreateDelegationToken", 3, 2},
	KeyRenewDelegationToken:         {"RenewDelegationToken", 2, 2},
	KeyExpireDelegationToken:        {"ExpireDelegationToken", 2, 2},
	KeyDescribeDelegationToken:      {"DescribeDelegationToken", 3, 2},
	KeyDeleteGroups:                 {"DeleteGroups", 2, 2},
	KeyElectLeaders:                 {"ElectLeaders", 2, 2},
	KeyIncrementalAlterConfigs:      {"IncrementalAlterConfigs", 1, 1},
	KeyAlterPartitionReassignments:  {"AlterPartitionReassignments", 0, 0},
	KeyListPartitionReassignments:   {"ListPartitionReassignments", 0, 0},
	KeyOffsetDelete:                 {"OffsetDelete", 0, never},
	KeyDescribeClientQuotas:         {"DescribeClientQuotas", 1, 1},
	KeyAlterClientQuotas:            {"AlterClientQuotas", 1, 1},
	KeyDescribeUserSCRAMCredentials: {"DescribeUserScramCredentials", 0, 0},
	KeyAlterUserSCRAMCredentials:    {"AlterUserScramCredentials", 0, 0},
	KeyAlterPartition:               {"AlterPartition", 3, 0},
	KeyUpdateFeatures:               {"UpdateFeatures", 1, 0},
	KeyEnvelope:                     {"Envelope", 0, 0},
	KeyDescribeCluster:              {"DescribeCluster", 1, 0},
	KeyDescribeProducers:            {"DescribeProducers", 0, 0},
	KeyDescribeTransactions:         {"DescribeTransactions", 0, 0},
	KeyListTransactions:             {"ListTransactions", 1, 0},
	KeyAllocateProducerIDs:          {"AllocateProducerIds", 0, 0},
	KeyConsumerGroupHeartbeat:       {"ConsumerGroupHeartbeat", 0, 0},
	KeyConsumerGroupDescribe:        {"ConsumerGroupDescribe", 0, 0},
}

func api(key int16) (apiInfo, bool) {
	if key < 0 || key > maxKey || apis[key].name == "" {
		return apiInfo{}, false
	}
	return apis[key], true
}

// Supported returns the versions that Kafka 3.9 offers of an API key. What we
// advertise is the table of broker/api.
func Supported(key int16) (min, max int16, ok bool) {
	a, ok := api(key)
	return 0, a.max, ok
}

// KeyName is Kafka's name of an API key, or its number when it has none.
func KeyName(key int16) string {
	if a, ok := api(key); ok {
		return a.name
	}
	return strconv.Itoa(int(key))
}

// Flexible reports whether a version has compact lengths and tagged fields
// (KIP-482).
func Flexible(key, version int16) bool {
	a, ok := api(key)
	return ok && version >= a.flexible
}

// FlexibleResponseHeader reports whether the header of the answer ends in
// tagged fields. ApiVersions never has them, so that a client that knows no
// version can read it.
func FlexibleResponseHeader(key, version int16) bool {
	return key != KeyAPIVersions && Flexible(key, version)
}
