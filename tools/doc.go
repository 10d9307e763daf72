// Package tools is the command line: one file per command. The server and dev
// commands start brokers; all others speak the protocol as any client does, or
// read files, and know no room of the broker.
//
// Commands have Apache Kafka's flags and print what its tools print; errors go
// to standard error and say what to do. They exit with 0, with 1 when what was
// asked for failed, with 2 when it was asked for wrongly.
package tools
