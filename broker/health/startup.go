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
	dirs     map[string]*recovery
	took     time.Duration // of the start; 0 before its end
	stopping bool
	failure  error
}

// recovery is how far a log directory is.
type recovery struct {
	done, total int     // logs
	part        float64 // of one that is being read
	best        float64 // of all, never going back
}

func newStartup() *Startup {
	now := time.Now()
	return &Startup{begun: now, since: now, moved: now, stage: "beginning", dirs: map[string]*recovery{}}
}

// Stage begins a stage of the start, such as "recovering logs".
func (s *Startup) Stage(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stage, s.since, s.moved = name, time.Now(), time.Now()
}

// Recovered tells how far a log directory is: logs done and in all, and bytes of
// one log that is being read (0, 0 if none is).
func (s *Startup) Recovered(dir string, done, total int, bytesDone, bytesTotal int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.moved = time.Now()
	r := s.dirs[dir]
	if r == nil {
		r = &recovery{}
		s.dirs[dir] = r
	}
	r.done, r.total, r.part = max(r.done, done), total, 0
	if bytesTotal > 0 {
		r.part = min(float64(bytesDone)/float64(bytesTotal), 1)
	}
	if total > 0 {
		r.best = min(max(r.best, (float64(r.done)+r.part)/float64(total)), 1)
	}
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
	if s.took == 0 {
		for _, dir := range slices.Sorted(maps.Keys(s.dirs)) {
			r := s.dirs[dir]
			fmt.Fprintf(&b, "%s  %d of %d logs, %.0f %%%s\n", dir, r.done, r.total, r.best*100, s.left(now, r.best))
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
	case s.took > 0:
		return Good("started, in %v", round(s.took))
	case len(s.dirs) == 0 || s.recovered():
		return Good("starting: %s for %v", s.stage, round(now.Sub(s.since)))
	}
	// The directories are read side by side: the slowest decides.
	slowest := 1.0
	for _, r := range s.dirs {
		slowest = min(slowest, r.best)
	}
	if still := now.Sub(s.moved); still > recoveryStuckAfter {
		return Bad("starting: %s stands still at %.0f %% for %v", s.stage, slowest*100, round(still))
	}
	return Good("starting: %s, %.0f %%%s", s.stage, slowest*100, s.left(now, slowest))
}

func (s *Startup) recovered() bool {
	for _, r := range s.dirs {
		if r.done < r.total {
			return false
		}
	}
	return true
}

// left tells how long recovery will still take, if it goes on as until now.
func (s *Startup) left(now time.Time, share float64) string {
	took := now.Sub(s.since)
	if share < 0.01 || share >= 1 || took < time.Second {
		return ""
	}
	return fmt.Sprintf(", about %v left", time.Duration(float64(took)*(1-share)/share).Round(time.Second))
}
