// Package metrics holds what a broker counts and writes it as a Prometheus text
// page.
//
// A Registry belongs to a broker, never to the package. It keeps counters,
// gauges and histograms of go-metrics; its meters and timers are not used, since
// they start a goroutine on a package-level ticker. Rates are made by whoever
// reads the page. Families whose series are only known when the page is asked
// for (topics, partitions, listeners) come from functions, see Registry.Collect.
//
// Rooms keep their own counts in plain atomics or under locks that they hold
// anyway, and package broker tells the registry how to ask for them, so counting
// costs a request nothing beyond one atomic addition. A Histogram is one
// addition too.
//
// A page is written family by family through a buffer of fixed size: its length
// does not matter for memory.
package metrics
