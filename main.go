// Barnabas is a broker cluster for Apache Kafka's clients, coordinated by
// ZooKeeper. Package tools is its command line.
package main

import (
	"os"

	"barnabas/tools"
)

func main() { os.Exit(tools.Run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
