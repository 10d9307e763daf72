package health

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// recoveryStuckAfter is how long recovery may stand still: what is reported is
// each log, and each 64 MiB of one.
const recoveryStuckAfter = 5 * time.Minute

// Startup is how far the start is. The broker reports each stage, then Started
// or Failed; Stopping when it goes.
//
//	starting   from New
//	started    from starting
//	failed     from any
//	stopping   from starting or started
type Startup struct {
	begun time.Time

	mu       sync.Mutex // guards the fields below
	stage    string
	since    time.Time // of the stage
	moved    time.Time // when recovery was last heard of
	dirs     map[string]*Recovery
	took     time.Duration // of the start; 0 before its end
	stopping bool
	failure  error
}

// Recovery is how far a log directory is.
type Recovery struct {
	// Done of Total logs are open.
	Done, Total int
	// Share is how much of it is done, 0 to 1, and Left how long the rest will take;
	// 0 while nobody knows.
	Share float64
	Left  time.Duration
}

func newStartup() *Startup {
	now := time.Now()
	return &Startup{begun: now, since: now, moved: now, stage: "beginning", dirs: map[string]*Recovery{}}
}

// Stage begins a stage of the start, such as "recovering logs".
func (s *Startup) Stage(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stage, s.since, s.moved = name, time.Now(), time.Now()
}

// Recovered tells how far a log directory is.
func (s *Startup) Recovered(dir string, r Recovery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.moved = time.Now()
	s.dirs[dir] = &r
}

// Recovery says in words how far the recovery of logs is; "" if it is over.
func (s *Startup) Recovery() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.recoveryLocked()
}

func (s *Startup) recoveryLocked() string {
	// The directories are read side by side: the slowest decides.
	slowest := Recovery{Share: 1}
	for _, r := range s.dirs {
		if r.Done < r.Total && r.Share <= slowest.Share {
			slowest = *r
		}
	}
	if slowest.Total == 0 {
		return ""
	}
	return fmt.Sprintf("%.0f %%%s", slowest.Share*100, left(slowest.Left))
}

// Started says that the broker is registered and serves.
func (s *Startup) Started() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.took = max(time.Since(s.begun), 1)
}

// Failed says that the broker can't go on.
func (s *Startup) Failed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure == nil {
		s.failure = err
	}
}

// Stopping says that the broker was told to stop.
func (s *Startup) Stopping() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopping = true
}

// IsStopping reports whether the broker was told to stop.
func (s *Startup) IsStopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopping
}

// alive is for /livez: a broker that starts is alive.
func (s *Startup) alive(now time.Time) Finding {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.findingLocked(now)
}

// ready is for /readyz.
func (s *Startup) ready(now time.Time) Finding {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.findingLocked(now)
	f.OK = f.OK && s.took > 0 && !s.stopping
	return f
}

// describe is the whole of /startupz.
func (s *Startup) describe(now time.Time) (Finding, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.findingLocked(now)
	var b strings.Builder
	b.WriteString(oneLine(f.Says) + "\n")
	if s.took == 0 || s.recoveryLocked() != "" {
		for _, dir := range slices.Sorted(maps.Keys(s.dirs)) {
			r := s.dirs[dir]
			fmt.Fprintf(&b, "%s  %d of %d logs, %.0f %%%s\n", dir, r.Done, r.Total, r.Share*100, left(r.Left))
		}
	}
	return f, b.String()
}

func (s *Startup) findingLocked(now time.Time) Finding {
	switch {
	case s.failure != nil:
		return Bad("failed: %v", s.failure)
	case s.stopping:
		return Good("stopping")
	}
	recovery := s.recoveryLocked()
	switch still := now.Sub(s.moved); {
	case s.took > 0 && recovery != "":
		return Good("started, in %v; recovering logs, %s", round(s.took), recovery)
	case s.took > 0:
		return Good("started, in %v", round(s.took))
	case recovery == "":
		return Good("starting: %s for %v", s.stage, round(now.Sub(s.since)))
	case still > recoveryStuckAfter:
		return Bad("starting: recovering logs stands still at %s for %v", recovery, round(still))
	}
	return Good("starting: %s, recovering logs, %s", s.stage, recovery)
}

// left tells how long something will still take.
func left(d time.Duration) string {
	if d <= 0 {
		return ""
	}
	return fmt.Sprintf(", about %v left", d.Round(time.Second))
}
