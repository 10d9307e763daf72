//go:build linux

package poll

import (
	"time"

	"golang.org/x/sys/unix"
)

// The load is high from highLoad percent of a processor, until it is below lowLoad:
// what is shared leaves less to the poller itself.
const (
	highLoad = 85
	lowLoad  = 40
)

// load is how much of a processor a poller takes, by the clock of its thread: one that
// could run and has no processor is not helped by taking another.
type load struct {
	high    bool
	yielded time.Time // when begin was called last

	since time.Time // the time that is looked at
	used  time.Duration
	tid   int           // thread, and its clock, at begin
	clock time.Duration // 0: unknown
}

// begin is called when the poller runs again.
func (l *load) begin() {
	l.yielded = time.Now()
	if l.since.IsZero() {
		l.since = l.yielded
	}
	l.tid, l.clock = unix.Gettid(), threadClock()
}

// end is called before it lets others run.
func (l *load) end() {
	now := time.Now()
	if l.tid != unix.Gettid() || l.clock == 0 {
		l.since, l.used = time.Time{}, 0 // it has moved to another thread meanwhile
		return
	}
	l.used += threadClock() - l.clock
	all := now.Sub(l.since)
	if all < yieldEvery {
		return
	}
	switch percent := 100 * l.used / all; {
	case percent >= highLoad:
		l.high = true
	case percent < lowLoad:
		l.high = false
	}
	l.since, l.used = time.Time{}, 0
}

func threadClock() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
