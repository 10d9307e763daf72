// Package integration runs the built barnabas binary as users do: real
// processes, a real ZooKeeper, and unmodified clients: kcat, Apache Kafka's Java
// clients and tools, franz-go, zkCli. Its tests have the build tag integration,
// and scripts/test-setup installs what they need.
//
//	go test -tags integration ./integration/...
package integration
