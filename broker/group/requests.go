package group

import (
	"time"

	"barnabas/protocol"
)

// Protocol is one assignment strategy that a member supports, with what it
// tells the leader under it.
type Protocol struct {
	Name     string
	Metadata []byte
}

// JoinRequest asks for membership. Byte slices are only read during the call.
type JoinRequest struct {
	Group      string
	MemberID   string // "" for a new member
	InstanceID *string
	ClientID   string
	ClientHost string // as Kafka writes it: "/10.0.0.1"
	// SessionTimeout and RebalanceTimeout; before v1 both are the session's.
	SessionTimeout, RebalanceTimeout time.Duration
	ProtocolType                     string
	Protocols                        []Protocol
	// RequireMemberID: v4 and later; a new dynamic member is told its id first
	// (KIP-394).
	RequireMemberID bool
	// CanSkipAssignment: v9 and later; a static leader that comes back may be
	// told to keep the assignment (KIP-814).
	CanSkipAssignment bool
	Reason            string
}

// JoinMember is what the leader is told of each member.
type JoinMember struct {
	MemberID   string
	InstanceID *string
	Metadata   []byte // not to be changed
}

// JoinResponse answers a JoinRequest. If Err is set, Generation is -1,
// Leader empty, and the protocol fields are null, but for a failed replacement
// of a static member.
type JoinResponse struct {
	Err            protocol.Error
	MemberID       string
	Generation     int32
	ProtocolType   *string
	Protocol       *string
	Leader         string
	SkipAssignment bool
	Members        []JoinMember // for the leader only
}

// SyncRequest asks for the assignment; the leader's brings everybody's.
type SyncRequest struct {
	Group      string
	Generation int32
	MemberID   string
	InstanceID *string
	// ProtocolType and Protocol are null before v5.
	ProtocolType, Protocol *string
	Assignments            []Assignment
}

// Assignment is what the leader gives one member.
type Assignment struct {
	MemberID string
	Data     []byte
}

// SyncResponse answers a SyncRequest.
type SyncResponse struct {
	Err                    protocol.Error
	ProtocolType, Protocol *string
	Assignment             []byte // not to be changed
}

// HeartbeatRequest keeps a member alive.
type HeartbeatRequest struct {
	Group      string
	Generation int32
	MemberID   string
	InstanceID *string
}

// LeaveRequest removes members.
type LeaveRequest struct {
	Group   string
	Members []LeavingMember
}

// LeavingMember names one member to remove. An empty MemberID with an
// InstanceID removes whoever holds that instance (KIP-345).
type LeavingMember struct {
	MemberID   string
	InstanceID *string
	Reason     string
}

// LeaveResponse answers a LeaveRequest; Members is in the order of the request
// and empty if Err is set.
type LeaveResponse struct {
	Err     protocol.Error
	Members []LeftMember
}

// LeftMember is the outcome for one member.
type LeftMember struct {
	Err        protocol.Error
	MemberID   string
	InstanceID *string
}

// CommitRequest stores offsets of a group.
type CommitRequest struct {
	Group      string
	Generation int32 // -1 of those that don't use group management
	MemberID   string
	InstanceID *string
	// Retention, if ≥ 0, makes the offsets expire (v2 to v4); -1 is the
	// broker's rule.
	Retention time.Duration
	Topics    []CommitTopic
}

// NoRetention is the Retention of commits that leave it to the broker.
const NoRetention = time.Duration(-1)

// CommitTopic holds offsets of one topic.
type CommitTopic struct {
	Topic      string
	Partitions []CommitPartition
}

// CommitPartition is the offset of one partition.
type CommitPartition struct {
	Partition   int32
	Offset      int64
	LeaderEpoch int32
	Metadata    string
	// Timestamp is the client's commit time in milliseconds (v1), or
	// grouplog.NoTimestamp for now.
	Timestamp int64
	// Err, set by the caller (unknown partition), keeps this one out; after the
	// call it is the outcome.
	Err protocol.Error

	expiration int64 // set by BeginCommit
}

// FetchRequest asks for committed offsets.
type FetchRequest struct {
	Group string
	// Topics is nil for all.
	Topics []FetchTopic
	// RequireStable refuses offsets that a pending commit may change (KIP-447).
	RequireStable bool
}

// FetchTopic names partitions of one topic.
type FetchTopic struct {
	Topic      string
	Partitions []int32
}

// FetchResponse answers a FetchRequest.
type FetchResponse struct {
	Err    protocol.Error
	Topics []FetchedTopic
}

// FetchedTopic holds the answers for one topic.
type FetchedTopic struct {
	Topic      string
	Partitions []FetchedPartition
}

// FetchedPartition is one committed offset; Offset and LeaderEpoch are -1 if
// there is none.
type FetchedPartition struct {
	Partition   int32
	Offset      int64
	LeaderEpoch int32
	Metadata    string
	Err         protocol.Error
}

// Listed is one group of a ListGroups answer.
type Listed struct {
	Group        string
	ProtocolType string
	State        State
}

// Description is one group of a DescribeGroups answer. Protocol and what the
// members sent and got are empty unless the group is Stable.
type Description struct {
	Group        string
	Err          protocol.Error
	State        string // "" if Err is set
	ProtocolType string
	Protocol     string
	Members      []DescribedMember
}

// DescribedMember is one member of a described group.
type DescribedMember struct {
	MemberID   string
	InstanceID *string
	ClientID   string
	ClientHost string
	Metadata   []byte
	Assignment []byte
}
