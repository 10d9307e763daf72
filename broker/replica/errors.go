package replica

import (
	"errors"
	"fmt"

	"barnabas/internal/kafka"
	"barnabas/log"
	"barnabas/log/batch"
	"barnabas/protocol"
)

// fault is an error of this room that knows its code on the wire.
type fault struct {
	code protocol.Error
	text string
}

func (f *fault) Error() string { return "replica: " + f.text }

// Unwrap lets protocol.CodeOf find the code.
func (f *fault) Unwrap() error { return f.code }

// Errors of this room. Each carries its protocol.Error in its chain.
var (
	// ErrUnknownPartition: this broker has no such partition.
	ErrUnknownPartition error = &fault{protocol.UnknownTopicOrPartition, "unknown topic or partition"}
	// ErrInconsistentTopicID: the partition belongs to another topic of the same name.
	ErrInconsistentTopicID error = &fault{protocol.InconsistentTopicID, "topic id differs from the partition's"}
	// ErrFencedEpoch: the request was made for an older leadership (KIP-320).
	ErrFencedEpoch error = &fault{protocol.FencedLeaderEpoch, "leader epoch is older than the partition's"}
	// ErrUnknownEpoch: the request knows a newer leadership than this broker.
	ErrUnknownEpoch error = &fault{protocol.UnknownLeaderEpoch, "leader epoch is newer than the partition's"}
	// ErrNotEnoughReplicas: fewer in-sync replicas than min.insync.replicas; nothing was appended.
	ErrNotEnoughReplicas error = &fault{protocol.NotEnoughReplicas, "fewer in-sync replicas than min.insync.replicas"}
	// ErrNotEnoughReplicasAfterAppend: the same, found after the append.
	ErrNotEnoughReplicasAfterAppend error = &fault{protocol.NotEnoughReplicasAfterAppend, "appended, but fewer in-sync replicas than min.insync.replicas"}
	// ErrTimedOut: the replicas did not confirm in time; the records may yet be replicated.
	ErrTimedOut error = &fault{protocol.RequestTimedOut, "timed out waiting for replicas"}
	// ErrOffsetNotAvailable: a new leader does not know the high watermark yet (KIP-207).
	ErrOffsetNotAvailable error = &fault{protocol.OffsetNotAvailable, "offset not available until the high watermark has caught up with the new leadership"}
	// ErrOffline: the partition's log directory has failed.
	ErrOffline error = &fault{protocol.KafkaStorageError, "log directory is offline"}
	// ErrNotLeader is what errors.Is finds in every NotLeaderError.
	ErrNotLeader error = &fault{protocol.NotLeaderOrFollower, "not the leader of the partition"}
)

// NotLeaderError says that this broker does not lead a partition, and who does
// as far as it knows (KIP-951).
type NotLeaderError struct {
	Leader kafka.BrokerID // kafka.NoBroker if unknown
	Epoch  kafka.LeaderEpoch
}

func (e *NotLeaderError) Error() string {
	return fmt.Sprintf("%v: broker %d leads it in epoch %d", ErrNotLeader, e.Leader, e.Epoch)
}

// Unwrap makes errors.Is(err, ErrNotLeader) true.
func (e *NotLeaderError) Unwrap() error { return ErrNotLeader }

// codes says what the errors of a log are on the wire. logStart tells whether an
// answer to a produce shows the log's real start beside the code.
var codes = []struct {
	err      error
	code     protocol.Error
	logStart bool
}{
	{log.ErrOffsetOutOfRange, protocol.OffsetOutOfRange, false},
	{log.ErrOutOfOrderSequence, protocol.OutOfOrderSequenceNumber, true},
	{log.ErrInvalidProducerEpoch, protocol.InvalidProducerEpoch, true},
	{log.ErrInvalidTxnState, protocol.InvalidTxnState, true},
	{log.ErrCoordinatorFenced, protocol.TransactionCoordinatorFenced, true},
	{log.ErrRecordListTooLarge, protocol.RecordListTooLarge, false},
	{log.ErrOffline, protocol.KafkaStorageError, false},
	{log.ErrNoRoom, protocol.KafkaStorageError, false},
	{log.ErrClosed, protocol.NotLeaderOrFollower, false}, // deleted under the request
	{batch.ErrShort, protocol.CorruptMessage, false},
	{batch.ErrCorrupt, protocol.CorruptMessage, false},
	{batch.ErrTooLarge, protocol.MessageTooLarge, false},
	{batch.ErrInvalidTimestamp, protocol.InvalidTimestamp, true},
	{batch.ErrInvalidRecord, protocol.InvalidRecord, true},
	{batch.ErrUnsupportedCodec, protocol.UnknownServerError, true},
	{batch.ErrDecompress, protocol.UnknownServerError, true},
	{batch.ErrLimit, protocol.InvalidRecord, true},
}

// answer gives an error of a log its code. start is the log's start offset, for
// answers that show it.
func answer(err error, start int64) error {
	if err == nil {
		return nil
	}
	for _, c := range codes {
		if !errors.Is(err, c.err) {
			continue
		}
		f := protocol.Fail(c.code, "")
		if c.logStart {
			f.LogStartOffset = start
		}
		var bad *batch.RecordErrors
		if errors.As(err, &bad) {
			for _, r := range bad.Records {
				f.Records = append(f.Records, protocol.RecordError{Index: int32(r.Index), Message: r.Message})
			}
			f.Message = bad.Error()
		}
		if c.code == protocol.InvalidTxnState || c.err == log.ErrNoRoom {
			f.Message = err.Error()
		}
		return fmt.Errorf("%w: %w", f, err)
	}
	var damage *log.CorruptionError
	if errors.As(err, &damage) {
		return fmt.Errorf("%w: %w", protocol.CorruptMessage, err)
	}
	return err
}
