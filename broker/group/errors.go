package group

import "barnabas/protocol"

// What requests are refused with, under the names that they have here.
const (
	ok                      = protocol.None
	errInvalidGroupID       = protocol.InvalidGroupID
	errInvalidRequest       = protocol.InvalidRequest
	errNotAvailable         = protocol.CoordinatorNotAvailable
	errLoading              = protocol.CoordinatorLoadInProgress
	errNotCoordinator       = protocol.NotCoordinator
	errUnknownMember        = protocol.UnknownMemberID
	errMemberIDRequired     = protocol.MemberIDRequired
	errFencedInstance       = protocol.FencedInstanceID
	errIllegalGeneration    = protocol.IllegalGeneration
	errInconsistentProtocol = protocol.InconsistentGroupProtocol
	errSessionTimeout       = protocol.InvalidSessionTimeout
	errRebalancing          = protocol.RebalanceInProgress
	errMaxSize              = protocol.GroupMaxSizeReached
	errMetadataTooLarge     = protocol.OffsetMetadataTooLarge
	errCommitTooLarge       = protocol.InvalidCommitOffsetSize
	errUnstableOffset       = protocol.UnstableOffsetCommit
	errUnknownPartition     = protocol.UnknownTopicOrPartition
	errTimedOut             = protocol.RequestTimedOut
	errGroupNotFound        = protocol.GroupIDNotFound
	errNonEmpty             = protocol.NonEmptyGroup
	errSubscribed           = protocol.GroupSubscribedToTopic
	errUnknownServer        = protocol.UnknownServerError
)

// joinStoreError is what joins and syncs are told when a group's record was not
// stored (GroupMetadataManager.storeGroup).
func joinStoreError(err error) protocol.Error {
	switch protocol.CodeOf(err) {
	case protocol.None:
		return ok
	case protocol.UnknownTopicOrPartition, protocol.NotEnoughReplicas, protocol.NotEnoughReplicasAfterAppend:
		return errNotAvailable
	case protocol.NotLeaderOrFollower, protocol.KafkaStorageError, protocol.FencedLeaderEpoch:
		return errNotCoordinator
	case protocol.RequestTimedOut:
		return errRebalancing
	default:
		return errUnknownServer
	}
}

// commitStoreError is what a commit is told when its offsets were not stored
// (GroupMetadataManager.storeOffsets).
func commitStoreError(err error) protocol.Error {
	switch protocol.CodeOf(err) {
	case protocol.None:
		return ok
	case protocol.UnknownTopicOrPartition, protocol.NotEnoughReplicas, protocol.NotEnoughReplicasAfterAppend:
		return errNotAvailable
	case protocol.NotLeaderOrFollower, protocol.KafkaStorageError, protocol.FencedLeaderEpoch:
		return errNotCoordinator
	case protocol.MessageTooLarge, protocol.RecordListTooLarge, protocol.InvalidFetchSize:
		return errCommitTooLarge
	case protocol.RequestTimedOut:
		return errTimedOut
	default:
		return errUnknownServer
	}
}
