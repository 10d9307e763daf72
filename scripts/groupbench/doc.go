// Command groupbench runs what consumer groups ask of a broker on two brokers in
// turns, and prints medians, their ratios and those of single rounds as a table in
// Markdown: offset commits, rebalances, joins, the reload of offsets after a crash,
// and compaction.
//
// It knows the two by their addresses only. For the reload and the compaction it
// must also know their processes: a file that has the process id, and a command
// that starts the broker again and writes that file. Each broker is a cluster of
// its own, of one. All workloads have a fixed number of operations, so that both
// have equal numbers of records in their logs.
//
//	go run ./scripts/groupbench \
//	    --a 127.0.0.1:9092 --a-pid kafka.pid    --a-start ./start-kafka \
//	    --b 127.0.0.1:9192 --b-pid barnabas.pid --b-start ./start-barnabas
//
// The brokers need group.initial.rebalance.delay.ms=0, and replication factor 1
// for offsets. Progress goes to stderr. It creates topics and groups whose names
// begin with "groupbench", and kills the brokers: use no broker that matters.
package main
