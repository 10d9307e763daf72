// Package batch knows the bytes of record batches: header, checksum, records,
// compression, control markers, and the message sets of the formats 0 and 1. It
// does no I/O and keeps nothing: functions take the bytes of one batch, which
// stay the caller's.
//
// The life of a batch in a broker: ParseHeader reads the header where the
// request's buffer holds it; Validate judges what a client sent and brings its
// timestamps into the form that the topic wants; SetOffset and SetLeaderEpoch
// place it in the log. Who reads records (time lookups, coordinators, tools)
// ranges over Records. Who makes them uses a Builder.
//
// All bytes may come from an attacker: lengths are checked before they are
// believed, and decompression is bounded by Limits. On the path of uncompressed
// batches nothing is allocated.
//
// Compression state is expensive to build, so it is pooled in a Codecs, which
// the caller owns and passes in; there is none in the package. The format is
// org.apache.kafka.common.record.DefaultRecordBatch's (KIP-98), the old ones
// LegacyRecord's (KIP-31, KIP-32).
package batch
