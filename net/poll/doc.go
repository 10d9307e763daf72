// Package poll waits for many connections with few threads, and serves each on
// the thread that waited.
//
// Go wakes a goroutine for each connection that has something to say: a hand-over
// between threads, spinning ones that look for more, and a monitor that wakes with
// each. For requests of a few microseconds that is most of the cost. A Poller is
// one goroutine in epoll_wait that calls the Handler of each connection itself.
//
// A handler must not wait, but may fail to keep that: a disk stalls. A guard looks
// at the poller while there is traffic; if one call takes long, another goroutine
// leads from there on (connections that the first was not busy with lose nothing,
// since events are level-triggered), and for a second Calm says no, so that
// handlers leave what may wait to goroutines.
//
// While the thread is busy nearly all the time, it shares the events at hand with
// another goroutine: handlers of different connections run at the same time then.
//
// A Conn is a net.Conn too: a goroutine that reads or writes it by the usual methods
// waits as with package net, deadlines included. Nobody may read in both ways at
// a time.
//
// All of that is Linux's. Elsewhere New fails, and connections are served by goroutines.
package poll
