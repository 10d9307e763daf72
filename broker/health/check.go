package health

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"barnabas/internal/pulse"
)

// Finding is what a check found.
type Finding struct {
	OK bool
	// Says is one line for an operator.
	Says string
}

// Good and Bad make findings.
func Good(format string, args ...any) Finding { return Finding{true, fmt.Sprintf(format, args...)} }

// Bad is a finding that makes the verdict red.
func Bad(format string, args ...any) Finding { return Finding{false, fmt.Sprintf(format, args...)} }

// Check looks at one part of the broker. It may be called by any goroutine, but
// not by two at once.
type Check func(now time.Time) Finding

// Result is a finding and whose it is.
type Result struct {
	Name string
	Finding
}

// checkTimeout is how long a check may take.
const checkTimeout = 5 * time.Second

// probe runs a check, at most one at a time.
type probe struct {
	name  string
	check Check

	mu      sync.Mutex   // guards the field below
	running chan Finding // of the check under way, which may hang; nil if none
}

// begin starts the check unless the last one still runs, and returns where its
// finding will be. Two callers may wait for the same one: whoever takes it puts
// it back.
func (p *probe) begin(now time.Time) chan Finding {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running != nil {
		return p.running
	}
	c := make(chan Finding, 1)
	p.running = c
	go func() {
		f := p.check(now)
		p.mu.Lock()
		p.running = nil
		p.mu.Unlock()
		c <- f
	}()
	return c
}

// run runs all checks side by side and waits for them, up to the timeout.
func run(probes []*probe, now time.Time) []Result {
	waits := make([]chan Finding, len(probes))
	for i, p := range probes {
		waits[i] = p.begin(now)
	}
	t := time.NewTimer(checkTimeout)
	defer t.Stop()
	expired := false
	out := make([]Result, len(probes))
	for i, p := range probes {
		out[i].Name = p.name
		if expired {
			out[i].Finding = taken(waits[i])
			continue
		}
		select {
		case f := <-waits[i]:
			waits[i] <- f
			out[i].Finding = f
		case <-t.C:
			expired = true
			out[i].Finding = taken(waits[i])
		}
	}
	return out
}

// taken is the finding of a check whose time is over.
func taken(c chan Finding) Finding {
	select {
	case f := <-c:
		c <- f
		return f
	default:
		return Bad("the check itself did not return in %v: a lock is not given back", checkTimeout)
	}
}

// report writes a line for each result; ok if all are.
func report(results []Result) (ok bool, lines string) {
	width := 0
	for _, r := range results {
		width = max(width, len(r.Name))
	}
	var b strings.Builder
	ok = true
	for _, r := range results {
		mark := "ok  "
		if !r.OK {
			mark, ok = "FAIL", false
		}
		fmt.Fprintf(&b, "%s  %-*s  %s\n", mark, width, r.Name, oneLine(r.Says))
	}
	return ok, b.String()
}

func verdict(ok bool, yes, no string) string {
	if ok {
		return yes + "\n"
	}
	return no + "\n"
}

// oneLine keeps a message with line breaks, as joined errors have, on its line.
func oneLine(s string) string { return strings.ReplaceAll(s, "\n", "; ") }

// stuckAfter is how long a loop may stay in one turn before it counts as stuck:
// far above what loading a large cluster takes.
const stuckAfter = time.Minute

// Loop checks that a loop turns. waits tells since when the loop could work: a
// loop that waits for ZooKeeper, which is away, is not stuck. Before the loop
// begins, and when stopping, all is well.
func Loop(p *pulse.Pulse, waits *Session, stopping func() bool) Check {
	return func(now time.Time) Finding {
		last := p.Last()
		switch {
		case stopping():
			return Good("stopping")
		case p.Ended():
			return Bad("ended")
		case last.IsZero():
			return Good("has not begun yet")
		}
		if idle := now.Sub(last); idle <= stuckAfter {
			return Good("turned %v ago", round(max(idle, 0)))
		}
		connected, since := waits.Connected()
		if !connected {
			return Good("waits for ZooKeeper, %v", round(now.Sub(last)))
		}
		if since.After(last) {
			last = since
		}
		if idle := now.Sub(last); idle > stuckAfter {
			return Bad("stuck for %v", round(idle))
		}
		return Good("catches up since ZooKeeper is back")
	}
}

// round shortens a duration for reading.
func round(d time.Duration) time.Duration {
	switch {
	case d >= time.Minute:
		return d.Round(time.Second)
	case d >= time.Second:
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(time.Millisecond)
}
