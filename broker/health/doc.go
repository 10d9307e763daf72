// Package health is what an operator, a probe or a scraper asks by HTTP, on an
// address of its own:
//
//	/livez       200 while the loops that a broker can't do without turn
//	/readyz      200 while clients should be sent here
//	/startupz    200 while the start makes progress, and after it
//	/metrics     the Prometheus page; ?partitions=1 adds each partition
//	/debug/pprof if it is switched on
//
// Bodies are lines that a person can read: a verdict, then one line for each
// check. The listener opens before the logs are recovered and closes last.
// /startupz is not red while a recovery runs, however long that takes, so that no
// probe kills a broker that recovers; it is when the start has failed, or when
// recovery has not moved for five minutes.
//
// A ZooKeeper that is away makes no broker dead and, once it is registered, not
// unready: partitions are led on, and the body says "coordination lost".
//
// The room knows no other. Package broker gives it checks, which are functions,
// and the function that writes the page. A check that does not return within
// five seconds (it may want a lock that is never given back) is a failed one;
// it is not started again while it hangs, so no more than one goroutine of each
// waits. Nothing here is authenticated: the address belongs to a private network.
package health
