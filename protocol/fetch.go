package protocol

import "encoding/binary"

// An answer to Fetch (versions 0 to 17) is written piece by piece, since the
// records between are not in memory:
//
//	AppendFetchHead
//	for each topic: AppendFetchTopic
//	    for each partition: AppendFetchPartition, the records, AppendFetchPartitionEnd
//	    AppendFetchTopicEnd
//	AppendFetchEnd

// AbortedTxn is a transaction that a reader must leave out.
type AbortedTxn struct {
	ProducerID  int64
	FirstOffset int64
}

// EpochEnd is a leader epoch and the offset after its last record.
type EpochEnd struct {
	Epoch     int32
	EndOffset int64
}

// FetchResult answers for one partition.
type FetchResult struct {
	Partition        int32
	Err              Error
	HighWatermark    int64
	LastStableOffset int64
	LogStartOffset   int64
	// Aborted is null on the wire if it is nil.
	Aborted []AbortedTxn
	// Preferred is the replica to read from instead, or -1.
	Preferred int32
	// RecordsLen is the size of the records in bytes; -1 is null.
	RecordsLen int32
	// Diverging is sent from version 12 on, unless nil.
	Diverging *EpochEnd
	// Leader is sent from version 16 on, unless it is NoLeader.
	Leader Leader
}

// AppendFetchHead begins the body of an answer with so many topics.
func AppendFetchHead(dst []byte, version int16, err Error, session int32, topics int) []byte {
	if version >= 1 {
		dst = append(dst, 0, 0, 0, 0) // throttle time
	}
	if version >= 7 {
		dst = binary.BigEndian.AppendUint16(dst, uint16(err))
		dst = binary.BigEndian.AppendUint32(dst, uint32(session))
	}
	return appendArray(dst, version >= 12, topics)
}

// AppendFetchTopic begins a topic with so many partitions.
func AppendFetchTopic(dst []byte, version int16, name string, id [16]byte, partitions int) []byte {
	if version >= 13 {
		dst = append(dst, id[:]...)
	} else {
		dst = appendString(dst, version >= 12, name)
	}
	return appendArray(dst, version >= 12, partitions)
}

// AppendFetchPartition begins a partition, up to the length of its records.
func AppendFetchPartition(dst []byte, version int16, r *FetchResult) []byte {
	flexible := version >= 12
	dst = binary.BigEndian.AppendUint32(dst, uint32(r.Partition))
	dst = binary.BigEndian.AppendUint16(dst, uint16(r.Err))
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.HighWatermark))
	if version >= 4 {
		dst = binary.BigEndian.AppendUint64(dst, uint64(r.LastStableOffset))
	}
	if version >= 5 {
		dst = binary.BigEndian.AppendUint64(dst, uint64(r.LogStartOffset))
	}
	if version >= 4 {
		dst = appendAborted(dst, flexible, r.Aborted)
	}
	if version >= 11 {
		dst = binary.BigEndian.AppendUint32(dst, uint32(r.Preferred))
	}
	if r.RecordsLen < 0 {
		return appendNullArray(dst, flexible)
	}
	return appendArray(dst, flexible, int(r.RecordsLen))
}

func appendAborted(dst []byte, flexible bool, txns []AbortedTxn) []byte {
	if txns == nil {
		return appendNullArray(dst, flexible)
	}
	dst = appendArray(dst, flexible, len(txns))
	for _, t := range txns {
		dst = binary.BigEndian.AppendUint64(dst, uint64(t.ProducerID))
		dst = binary.BigEndian.AppendUint64(dst, uint64(t.FirstOffset))
		if flexible {
			dst = append(dst, 0)
		}
	}
	return dst
}

// AppendFetchPartitionEnd ends a partition, after its records.
func AppendFetchPartitionEnd(dst []byte, version int16, r *FetchResult) []byte {
	if version < 12 {
		return dst
	}
	leader := version >= 16 && r.Leader != NoLeader
	n := byte(0)
	if r.Diverging != nil {
		n++
	}
	if leader {
		n++
	}
	dst = append(dst, n)
	if d := r.Diverging; d != nil {
		dst = append(dst, 0, 4+8+1)
		dst = binary.BigEndian.AppendUint32(dst, uint32(d.Epoch))
		dst = binary.BigEndian.AppendUint64(dst, uint64(d.EndOffset))
		dst = append(dst, 0)
	}
	if leader {
		dst = appendLeader(dst, 1, r.Leader)
	}
	return dst
}

// AppendFetchTopicEnd ends a topic.
func AppendFetchTopicEnd(dst []byte, version int16) []byte {
	if version >= 12 {
		dst = append(dst, 0)
	}
	return dst
}

// AppendFetchEnd ends the answer. The nodes are sent from version 16 on.
func AppendFetchEnd(dst []byte, version int16, nodes []Node) []byte {
	switch {
	case version < 12:
		return dst
	case version < 16:
		nodes = nil
	}
	return appendNodes(dst, nodes)
}
