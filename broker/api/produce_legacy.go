package api

// nothingWhole reports whether an old client's message set ends before its first
// message does. Before version 3 of Produce that is no error: nothing is stored,
// and the answer has the base offset -1 (UnifiedLog.append of Kafka).
func nothingWhole(version int16, recs []byte) bool {
	if version >= 3 || recs == nil {
		return false
	}
	first, _, err := cutBatch(recs)
	return first == nil && err == nil
}
