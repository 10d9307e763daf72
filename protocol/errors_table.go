package protocol

// The codes of org.apache.kafka.common.protocol.Errors, as far as Kafka 3.9 has
// them. None means success and is never wrapped in an error chain.
const (
	None                               Error = 0
	UnknownServerError                 Error = -1
	OffsetOutOfRange                   Error = 1
	CorruptMessage                     Error = 2
	UnknownTopicOrPartition            Error = 3
	InvalidFetchSize                   Error = 4
	LeaderNotAvailable                 Error = 5
	NotLeaderOrFollower                Error = 6
	RequestTimedOut                    Error = 7
	BrokerNotAvailable                 Error = 8
	ReplicaNotAvailable                Error = 9
	MessageTooLarge                    Error = 10
	StaleControllerEpoch               Error = 11
	OffsetMetadataTooLarge             Error = 12
	NetworkException                   Error = 13
	CoordinatorLoadInProgress          Error = 14
	CoordinatorNotAvailable            Error = 15
	NotCoordinator                     Error = 16
	InvalidTopic                       Error = 17
	RecordListTooLarge                 Error = 18
	NotEnoughReplicas                  Error = 19
	NotEnoughReplicasAfterAppend       Error = 20
	InvalidRequiredAcks                Error = 21
	IllegalGeneration                  Error = 22
	InconsistentGroupProtocol          Error = 23
	InvalidGroupID                     Error = 24
	UnknownMemberID                    Error = 25
	InvalidSessionTimeout              Error = 26
	RebalanceInProgress                Error = 27
	InvalidCommitOffsetSize            Error = 28
	TopicAuthorizationFailed           Error = 29
	GroupAuthorizationFailed           Error = 30
	ClusterAuthorizationFailed         Error = 31
	InvalidTimestamp                   Error = 32
	UnsupportedSASLMechanism           Error = 33
	IllegalSASLState                   Error = 34
	UnsupportedVersion                 Error = 35
	TopicAlreadyExists                 Error = 36
	InvalidPartitions                  Error = 37
	InvalidReplicationFactor           Error = 38
	InvalidReplicaAssignment           Error = 39
	InvalidConfig                      Error = 40
	NotController                      Error = 41
	InvalidRequest                     Error = 42
	UnsupportedForMessageFormat        Error = 43
	PolicyViolation                    Error = 44
	OutOfOrderSequenceNumber           Error = 45
	DuplicateSequenceNumber            Error = 46
	InvalidProducerEpoch               Error = 47
	InvalidTxnState                    Error = 48
	InvalidProducerIDMapping           Error = 49
	InvalidTransactionTimeout          Error = 50
	ConcurrentTransactions             Error = 51
	TransactionCoordinatorFenced       Error = 52
	TransactionalIDAuthorizationFailed Error = 53
	SecurityDisabled                   Error = 54
	OperationNotAttempted              Error = 55
	KafkaStorageError                  Error = 56
	LogDirNotFound                     Error = 57
	SASLAuthenticationFailed           Error = 58
	UnknownProducerID                  Error = 59
	ReassignmentInProgress             Error = 60
	DelegationTokenAuthDisabled        Error = 61
	DelegationTokenNotFound            Error = 62
	DelegationTokenOwnerMismatch       Error = 63
	DelegationTokenRequestNotAllowed   Error = 64
	DelegationTokenAuthorizationFailed Error = 65
	DelegationTokenExpired             Error = 66
	InvalidPrincipalType               Error = 67
	NonEmptyGroup                      Error = 68
	GroupIDNotFound                    Error = 69
	FetchSessionIDNotFound             Error = 70
	InvalidFetchSessionEpoch           Error = 71
	ListenerNotFound                   Error = 72
	TopicDeletionDisabled              Error = 73
	FencedLeaderEpoch                  Error = 74
	UnknownLeaderEpoch                 Error = 75
	UnsupportedCompressionType         Error = 76
	StaleBrokerEpoch                   Error = 77
	OffsetNotAvailable                 Error = 78
	MemberIDRequired                   Error = 79
	PreferredLeaderNotAvailable        Error = 80
	GroupMaxSizeReached                Error = 81
	FencedInstanceID                   Error = 82
	EligibleLeadersNotAvailable        Error = 83
	ElectionNotNeeded                  Error = 84
	NoReassignmentInProgress           Error = 85
	GroupSubscribedToTopic             Error = 86
	InvalidRecord                      Error = 87
	UnstableOffsetCommit               Error = 88
	ThrottlingQuotaExceeded            Error = 89
	ProducerFenced                     Error = 90
	ResourceNotFound                   Error = 91
	DuplicateResource                  Error = 92
	UnacceptableCredential             Error = 93
	InconsistentVoterSet               Error = 94
	InvalidUpdateVersion               Error = 95
	FeatureUpdateFailed                Error = 96
	PrincipalDeserializationFailure    Error = 97
	SnapshotNotFound                   Error = 98
	PositionOutOfRange                 Error = 99
	UnknownTopicID                     Error = 100
	DuplicateBrokerRegistration        Error = 101
	BrokerIDNotRegistered              Error = 102
	InconsistentTopicID                Error = 103
	InconsistentClusterID              Error = 104
	TransactionalIDNotFound            Error = 105
	FetchSessionTopicIDError           Error = 106
	IneligibleReplica                  Error = 107
	NewLeaderElected                   Error = 108
	OffsetMovedToTieredStorage         Error = 109
	FencedMemberEpoch                  Error = 110
	UnreleasedInstanceID               Error = 111
	UnsupportedAssignor                Error = 112
	StaleMemberEpoch                   Error = 113
	MismatchedEndpointType             Error = 114
	UnsupportedEndpointType            Error = 115
	UnknownControllerID                Error = 116
	UnknownSubscriptionID              Error = 117
	TelemetryTooLarge                  Error = 118
	InvalidRegistration                Error = 119
	TransactionAbortable               Error = 120
)

// errorTable is indexed by code + 1.
var errorTable = [...]errorInfo{
	None + 1:                               {"NONE", "", false},
	UnknownServerError + 1:                 {"UNKNOWN_SERVER_ERROR", "The server experienced an unexpected error when processing the request.", false},
	OffsetOutOfRange + 1:                   {"OFFSET_OUT_OF_RANGE", "The requested offset is not within the range of offsets maintained by the server.", false},
	CorruptMessage + 1:                     {"CORRUPT_MESSAGE", "This message has failed its CRC checksum, exceeds the valid size, has a null key for a compacted topic, or is otherwise corrupt.", true},
	UnknownTopicOrPartition + 1:            {"UNKNOWN_TOPIC_OR_PARTITION", "This server does not host this topic-partition.", true},
	InvalidFetchSize + 1:                   {"INVALID_FETCH_SIZE", "The requested fetch size is invalid.", false},
	LeaderNotAvailable + 1:                 {"LEADER_NOT_AVAILABLE", "There is no leader for this topic-partition as we are in the middle of a leadership election.", true},
	NotLeaderOrFollower + 1:                {"NOT_LEADER_OR_FOLLOWER", "For requests intended only for the leader, this error indicates that the broker is not the current leader. For requests intended for any replica, this error indicates that the broker is not a replica of the topic partition.", true},
	RequestTimedOut + 1:                    {"REQUEST_TIMED_OUT", "The request timed out.", true},
	BrokerNotAvailable + 1:                 {"BROKER_NOT_AVAILABLE", "The broker is not available.", true},
	ReplicaNotAvailable + 1:                {"REPLICA_NOT_AVAILABLE", "The replica is not available for the requested topic-partition.", true},
	MessageTooLarge + 1:                    {"MESSAGE_TOO_LARGE", "The request included a message larger than the max message size the server will accept", false},
	StaleControllerEpoch + 1:               {"STALE_CONTROLLER_EPOCH", "The controller moved to another broker.", false},
	OffsetMetadataTooLarge + 1:             {"OFFSET_METADATA_TOO_LARGE", "The metadata field of the offset request was too large.", false},
	NetworkException + 1:                   {"NETWORK_EXCEPTION", "The server disconnected before a response was received.", true},
	CoordinatorLoadInProgress + 1:          {"COORDINATOR_LOAD_IN_PROGRESS", "The coordinator is loading and hence can't process requests.", true},
	CoordinatorNotAvailable + 1:            {"COORDINATOR_NOT_AVAILABLE", "The coordinator is not available.", true},
	NotCoordinator + 1:                     {"NOT_COORDINATOR", "This is not the correct coordinator.", true},
	InvalidTopic + 1:                       {"INVALID_TOPIC_EXCEPTION", "The request attempted to perform an operation on an invalid topic.", false},
	RecordListTooLarge + 1:                 {"RECORD_LIST_TOO_LARGE", "The request included message batch larger than the configured segment size on the server.", false},
	NotEnoughReplicas + 1:                  {"NOT_ENOUGH_REPLICAS", "Messages are rejected since there are fewer in-sync replicas than required.", true},
	NotEnoughReplicasAfterAppend + 1:       {"NOT_ENOUGH_REPLICAS_AFTER_APPEND", "Messages are written to the log, but to fewer in-sync replicas than required.", true},
	InvalidRequiredAcks + 1:                {"INVALID_REQUIRED_ACKS", "Produce request specified an invalid value for required acks.", false},
	IllegalGeneration + 1:                  {"ILLEGAL_GENERATION", "Specified group generation id is not valid.", false},
	InconsistentGroupProtocol + 1:          {"INCONSISTENT_GROUP_PROTOCOL", "The group member's supported protocols are incompatible with those of existing members or first group member tried to join with empty protocol type or empty protocol list.", false},
	InvalidGroupID + 1:                     {"INVALID_GROUP_ID", "The configured groupID is invalid.", false},
	UnknownMemberID + 1:                    {"UNKNOWN_MEMBER_ID", "The coordinator is not aware of this member.", false},
	InvalidSessionTimeout + 1:              {"INVALID_SESSION_TIMEOUT", "The session timeout is not within the range allowed by the broker (as configured by group.min.session.timeout.ms and group.max.session.timeout.ms).", false},
	RebalanceInProgress + 1:                {"REBALANCE_IN_PROGRESS", "The group is rebalancing, so a rejoin is needed.", false},
	InvalidCommitOffsetSize + 1:            {"INVALID_COMMIT_OFFSET_SIZE", "The committing offset data size is not valid.", false},
	TopicAuthorizationFailed + 1:           {"TOPIC_AUTHORIZATION_FAILED", "Not authorized to access topics: [Topic authorization failed.]", false},
	GroupAuthorizationFailed + 1:           {"GROUP_AUTHORIZATION_FAILED", "Not authorized to access group: Group authorization failed.", false},
	ClusterAuthorizationFailed + 1:         {"CLUSTER_AUTHORIZATION_FAILED", "Cluster authorization failed.", false},
	InvalidTimestamp + 1:                   {"INVALID_TIMESTAMP", "The timestamp of the message is out of acceptable range.", false},
	UnsupportedSASLMechanism + 1:           {"UNSUPPORTED_SASL_MECHANISM", "The broker does not support the requested SASL mechanism.", false},
	IllegalSASLState + 1:                   {"ILLEGAL_SASL_STATE", "Request is not valid given the current SASL state.", false},
	UnsupportedVersion + 1:                 {"UNSUPPORTED_VERSION", "The version of API is not supported.", false},
	TopicAlreadyExists + 1:                 {"TOPIC_ALREADY_EXISTS", "Topic with this name already exists.", false},
	InvalidPartitions + 1:                  {"INVALID_PARTITIONS", "Number of partitions is below 1.", false},
	InvalidReplicationFactor + 1:           {"INVALID_REPLICATION_FACTOR", "Replication factor is below 1 or larger than the number of available brokers.", false},
	InvalidReplicaAssignment + 1:           {"INVALID_REPLICA_ASSIGNMENT", "Replica assignment is invalid.", false},
	InvalidConfig + 1:                      {"INVALID_CONFIG", "Configuration is invalid.", false},
	NotController + 1:                      {"NOT_CONTROLLER", "This is not the correct controller for this cluster.", true},
	InvalidRequest + 1:                     {"INVALID_REQUEST", "This most likely occurs because of a request being malformed by the client library or the message was sent to an incompatible broker. See the broker logs for more details.", false},
	UnsupportedForMessageFormat + 1:        {"UNSUPPORTED_FOR_MESSAGE_FORMAT", "The message format version on the broker does not support the request.", false},
	PolicyViolation + 1:                    {"POLICY_VIOLATION", "Request parameters do not satisfy the configured policy.", false},
	OutOfOrderSequenceNumber + 1:           {"OUT_OF_ORDER_SEQUENCE_NUMBER", "The broker received an out of order sequence number.", false},
	DuplicateSequenceNumber + 1:            {"DUPLICATE_SEQUENCE_NUMBER", "The broker received a duplicate sequence number.", false},
	InvalidProducerEpoch + 1:               {"INVALID_PRODUCER_EPOCH", "Producer attempted an operation with an old epoch.", false},
	InvalidTxnState + 1:                    {"INVALID_TXN_STATE", "The producer attempted a transactional operation in an invalid state.", false},
	InvalidProducerIDMapping + 1:           {"INVALID_PRODUCER_ID_MAPPING", "The producer attempted to use a producer id which is not currently assigned to its transactional id.", false},
	InvalidTransactionTimeout + 1:          {"INVALID_TRANSACTION_TIMEOUT", "The transaction timeout is larger than the maximum value allowed by the broker (as configured by transaction.max.timeout.ms).", false},
	ConcurrentTransactions + 1:             {"CONCURRENT_TRANSACTIONS", "The producer attempted to update a transaction while another concurrent operation on the same transaction was ongoing.", false},
	TransactionCoordinatorFenced + 1:       {"TRANSACTION_COORDINATOR_FENCED", "Indicates that the transaction coordinator sending a WriteTxnMarker is no longer the current coordinator for a given producer.", false},
	TransactionalIDAuthorizationFailed + 1: {"TRANSACTIONAL_ID_AUTHORIZATION_FAILED", "Transactional ID authorization failed.", false},
	SecurityDisabled + 1:                   {"SECURITY_DISABLED", "Security features are disabled.", false},
	OperationNotAttempted + 1:              {"OPERATION_NOT_ATTEMPTED", "The broker did not attempt to execute this operation. This may happen for batched RPCs where some operations in the batch failed, causing the broker to respond without trying the rest.", false},
	KafkaStorageError + 1:                  {"KAFKA_STORAGE_ERROR", "Disk error when trying to access log file on the disk.", true},
	LogDirNotFound + 1:                     {"LOG_DIR_NOT_FOUND", "The user-specified log directory is not found in the broker config.", false},
	SASLAuthenticationFailed + 1:           {"SASL_AUTHENTICATION_FAILED", "SASL Authentication failed.", false},
	UnknownProducerID + 1:                  {"UNKNOWN_PRODUCER_ID", "This exception is raised by the broker if it could not locate the producer metadata associated with the producerID in question. This could happen if, for instance, the producer's records were deleted because their retention time had elapsed. Once the last records of the producerID are removed, the producer's metadata is removed from the broker, and future appends by the producer will return this exception.", false},
	ReassignmentInProgress + 1:             {"REASSIGNMENT_IN_PROGRESS", "A partition reassignment is in progress.", false},
	DelegationTokenAuthDisabled + 1:        {"DELEGATION_TOKEN_AUTH_DISABLED", "Delegation Token feature is not enabled.", false},
	DelegationTokenNotFound + 1:            {"DELEGATION_TOKEN_NOT_FOUND", "Delegation Token is not found on server.", false},
	DelegationTokenOwnerMismatch + 1:       {"DELEGATION_TOKEN_OWNER_MISMATCH", "Specified Principal is not valid Owner/Renewer.", false},
	DelegationTokenRequestNotAllowed + 1:   {"DELEGATION_TOKEN_REQUEST_NOT_ALLOWED", "Delegation Token requests are not allowed on PLAINTEXT/1-way SSL channels and on delegation token authenticated channels.", false},
	DelegationTokenAuthorizationFailed + 1: {"DELEGATION_TOKEN_AUTHORIZATION_FAILED", "Delegation Token authorization failed.", false},
	DelegationTokenExpired + 1:             {"DELEGATION_TOKEN_EXPIRED", "Delegation Token is expired.", false},
	InvalidPrincipalType + 1:               {"INVALID_PRINCIPAL_TYPE", "Supplied principalType is not supported.", false},
	NonEmptyGroup + 1:                      {"NON_EMPTY_GROUP", "The group is not empty.", false},
	GroupIDNotFound + 1:                    {"GROUP_ID_NOT_FOUND", "The group id does not exist.", false},
	FetchSessionIDNotFound + 1:             {"FETCH_SESSION_ID_NOT_FOUND", "The fetch session ID was not found.", true},
	InvalidFetchSessionEpoch + 1:           {"INVALID_FETCH_SESSION_EPOCH", "The fetch session epoch is invalid.", true},
	ListenerNotFound + 1:                   {"LISTENER_NOT_FOUND", "There is no listener on the leader broker that matches the listener on which metadata request was processed.", true},
	TopicDeletionDisabled + 1:              {"TOPIC_DELETION_DISABLED", "Topic deletion is disabled.", false},
	FencedLeaderEpoch + 1:                  {"FENCED_LEADER_EPOCH", "The leader epoch in the request is older than the epoch on the broker", true},
	UnknownLeaderEpoch + 1:                 {"UNKNOWN_LEADER_EPOCH", "The leader epoch in the request is newer than the epoch on the broker", true},
	UnsupportedCompressionType + 1:         {"UNSUPPORTED_COMPRESSION_TYPE", "The requesting client does not support the compression type of given partition.", false},
	StaleBrokerEpoch + 1:                   {"STALE_BROKER_EPOCH", "Broker epoch has changed", false},
	OffsetNotAvailable + 1:                 {"OFFSET_NOT_AVAILABLE", "The leader high watermark has not caught up from a recent leader election so the offsets cannot be guaranteed to be monotonically increasing", true},
	MemberIDRequired + 1:                   {"MEMBER_ID_REQUIRED", "The group member needs to have a valid member id before actually entering a consumer group", false},
	PreferredLeaderNotAvailable + 1:        {"PREFERRED_LEADER_NOT_AVAILABLE", "The preferred leader was not available", true},
	GroupMaxSizeReached + 1:                {"GROUP_MAX_SIZE_REACHED", "The consumer group has reached its max size", false},
	FencedInstanceID + 1:                   {"FENCED_INSTANCE_ID", "The broker rejected this static consumer since another consumer with the same group.instance.id has registered with a different member.id.", false},
	EligibleLeadersNotAvailable + 1:        {"ELIGIBLE_LEADERS_NOT_AVAILABLE", "Eligible topic partition leaders are not available", true},
	ElectionNotNeeded + 1:                  {"ELECTION_NOT_NEEDED", "Leader election not needed for topic partition", true},
	NoReassignmentInProgress + 1:           {"NO_REASSIGNMENT_IN_PROGRESS", "No partition reassignment is in progress.", false},
	GroupSubscribedToTopic + 1:             {"GROUP_SUBSCRIBED_TO_TOPIC", "Deleting offsets of a topic is forbidden while the consumer group is actively subscribed to it.", false},
	InvalidRecord + 1:                      {"INVALID_RECORD", "This record has failed the validation on the broker and hence been rejected.", false},
	UnstableOffsetCommit + 1:               {"UNSTABLE_OFFSET_COMMIT", "There are unstable offsets that need to be cleared.", true},
	ThrottlingQuotaExceeded + 1:            {"THROTTLING_QUOTA_EXCEEDED", "The throttling quota has been exceeded.", true},
	ProducerFenced + 1:                     {"PRODUCER_FENCED", "There is a newer producer with the same transactionalId which fences the current one.", false},
	ResourceNotFound + 1:                   {"RESOURCE_NOT_FOUND", "A request illegally referred to a resource that does not exist.", false},
	DuplicateResource + 1:                  {"DUPLICATE_RESOURCE", "A request illegally referred to the same resource twice.", false},
	UnacceptableCredential + 1:             {"UNACCEPTABLE_CREDENTIAL", "Requested credential would not meet criteria for acceptability.", false},
	InconsistentVoterSet + 1:               {"INCONSISTENT_VOTER_SET", "Indicates that either the sender or recipient of a voter-only request is not one of the expected voters.", false},
	InvalidUpdateVersion + 1:               {"INVALID_UPDATE_VERSION", "The given update version was invalid.", false},
	FeatureUpdateFailed + 1:                {"FEATURE_UPDATE_FAILED", "Unable to update finalized features due to an unexpected server error.", false},
	PrincipalDeserializationFailure + 1:    {"PRINCIPAL_DESERIALIZATION_FAILURE", "Request principal deserialization failed during forwarding. This indicates an internal error on the broker cluster security setup.", false},
	SnapshotNotFound + 1:                   {"SNAPSHOT_NOT_FOUND", "Requested snapshot was not found.", false},
	PositionOutOfRange + 1:                 {"POSITION_OUT_OF_RANGE", "Requested position is not greater than or equal to zero, and less than the size of the snapshot.", false},
	UnknownTopicID + 1:                     {"UNKNOWN_TOPIC_ID", "This server does not host this topic ID.", true},
	DuplicateBrokerRegistration + 1:        {"DUPLICATE_BROKER_REGISTRATION", "This broker ID is already in use.", false},
	BrokerIDNotRegistered + 1:              {"BROKER_ID_NOT_REGISTERED", "The given broker ID was not registered.", false},
	InconsistentTopicID + 1:                {"INCONSISTENT_TOPIC_ID", "The log's topic ID did not match the topic ID in the request.", true},
	InconsistentClusterID + 1:              {"INCONSISTENT_CLUSTER_ID", "The clusterId in the request does not match that found on the server.", false},
	TransactionalIDNotFound + 1:            {"TRANSACTIONAL_ID_NOT_FOUND", "The transactionalId could not be found.", false},
	FetchSessionTopicIDError + 1:           {"FETCH_SESSION_TOPIC_ID_ERROR", "The fetch session encountered inconsistent topic ID usage.", true},
	IneligibleReplica + 1:                  {"INELIGIBLE_REPLICA", "The new ISR contains at least one ineligible replica.", false},
	NewLeaderElected + 1:                   {"NEW_LEADER_ELECTED", "The AlterPartition request successfully updated the partition state but the leader has changed.", false},
	OffsetMovedToTieredStorage + 1:         {"OFFSET_MOVED_TO_TIERED_STORAGE", "The requested offset is moved to tiered storage.", false},
	FencedMemberEpoch + 1:                  {"FENCED_MEMBER_EPOCH", "The member epoch is fenced by the group coordinator. The member must abandon all its partitions and rejoin.", false},
	UnreleasedInstanceID + 1:               {"UNRELEASED_INSTANCE_ID", "The instance ID is still used by another member in the consumer group. That member must leave first.", false},
	UnsupportedAssignor + 1:                {"UNSUPPORTED_ASSIGNOR", "The assignor or its version range is not supported by the consumer group.", false},
	StaleMemberEpoch + 1:                   {"STALE_MEMBER_EPOCH", "The member epoch is stale. The member must retry after receiving its updated member epoch via the ConsumerGroupHeartbeat API.", false},
	MismatchedEndpointType + 1:             {"MISMATCHED_ENDPOINT_TYPE", "The request was sent to an endpoint of the wrong type.", false},
	UnsupportedEndpointType + 1:            {"UNSUPPORTED_ENDPOINT_TYPE", "This endpoint type is not supported yet.", false},
	UnknownControllerID + 1:                {"UNKNOWN_CONTROLLER_ID", "This controller ID is not known", false},
	UnknownSubscriptionID + 1:              {"UNKNOWN_SUBSCRIPTION_ID", "Client sent a push telemetry request with an invalid or outdated subscription ID.", false},
	TelemetryTooLarge + 1:                  {"TELEMETRY_TOO_LARGE", "Client sent a push telemetry request larger than the maximum size the broker will accept.", false},
	InvalidRegistration + 1:                {"INVALID_REGISTRATION", "The controller has considered the broker registration to be invalid.", false},
	TransactionAbortable + 1:               {"TRANSACTION_ABORTABLE", "The server encountered an error with the transaction. The client can abort the transaction to continue using this transactional ID.", false},
}
