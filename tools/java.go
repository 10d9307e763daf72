package tools

import (
	"strings"

	"barnabas/protocol"
)

// javaClasses are the exceptions of Kafka's Java client whose names do not follow
// from their codes' names.
var javaClasses = map[protocol.Error]string{
	protocol.UnknownServerError:       "UnknownServerException",
	protocol.CorruptMessage:           "CorruptRecordException",
	protocol.RequestTimedOut:          "TimeoutException",
	protocol.MessageTooLarge:          "RecordTooLargeException",
	protocol.RecordListTooLarge:       "RecordBatchTooLargeException",
	protocol.KafkaStorageError:        "KafkaStorageException",
	protocol.OutOfOrderSequenceNumber: "OutOfOrderSequenceException",
}

// javaClass is the Java exception of an error code. Kafka's tools print it, and
// scripts look for it.
func javaClass(code protocol.Error) string {
	name, ok := javaClasses[code]
	if !ok {
		stem := strings.TrimSuffix(strings.TrimSuffix(code.Name(), "_EXCEPTION"), "_FAILED")
		for word := range strings.SplitSeq(stem, "_") {
			name += word[:1] + strings.ToLower(word[1:])
		}
		name += "Exception"
	}
	return "org.apache.kafka.common.errors." + name
}

// javaError is a Java exception as it prints itself.
func javaError(code int16) string {
	e := protocol.Error(code)
	return javaClass(e) + ": " + e.Message()
}
