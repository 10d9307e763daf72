// Package pulse tells whether a loop still turns. The loop beats at each turn
// and ends its pulse when it returns; others look how long ago that was.
package pulse

import (
	"sync/atomic"
	"time"
)

// Pulse is of one loop. The zero value has not begun. It must not be copied.
type Pulse struct {
	last  atomic.Pointer[time.Time] // keeps the monotonic clock
	ended atomic.Bool
}

// Beat says that the loop turns. A loop without work beats at least once a
// second.
func (p *Pulse) Beat() {
	now := time.Now()
	p.last.Store(&now)
}

// End says that the loop has returned.
func (p *Pulse) End() { p.ended.Store(true) }

// Last is when the loop turned last; the zero time before it began.
func (p *Pulse) Last() time.Time {
	if t := p.last.Load(); t != nil {
		return *t
	}
	return time.Time{}
}

// Ended reports whether the loop has returned.
func (p *Pulse) Ended() bool { return p.ended.Load() }
