// Package grouplog is the format of the records in __consumer_offsets: keys,
// values, and their text as the tools of Apache Kafka 3.9 print it. The group
// coordinator writes and loads them (broker/group), dump-log shows them.
//
// All keys and values begin with an int16 version; the schemas are
// group-coordinator/src/main/resources/common/message of Apache Kafka 3.9.
// Written are keys 1 and 2, offset values 3 (1 with an expiration) and group
// values 3; all listed versions are read. Inside the values of consumers are
// their subscriptions and assignments, whose schemas are those of Kafka's
// clients; they are read here, and written by clients alone.
//
// Bytes are not trusted: no length is used before it is compared with what is
// left.
package grouplog
