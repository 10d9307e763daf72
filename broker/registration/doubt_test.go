package registration

import (
	"testing"
	"time"

	"barnabas/zkpaths/session"
)

// away is a registrar without ZooKeeper for so long, registered under an epoch.
func away(long time.Duration, epoch int64) (r *Registrar, lost *int) {
	lost = new(int)
	r = New(Options{OnLost: func() { *lost++ }})
	r.epoch.Store(epoch)
	if long > 0 {
		r.doubt.since = time.Now().Add(-long)
		r.overdue.Store(r.doubt.since.Add(10 * time.Second).UnixNano()) // sessions of 10 s
	}
	return r, lost
}

func TestBehind(t *testing.T) {
	for _, c := range []struct {
		name  string
		away  time.Duration
		epoch int64
		want  int
	}{
		{"connected: others are a moment ahead", 0, 5, 0},
		{"away for less than the session lasts", 5 * time.Second, 5, 0},
		{"away for longer", 11 * time.Second, 5, 1},
		{"not registered anyway", 11 * time.Second, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, lost := away(c.away, c.epoch)
			r.Behind()
			r.Behind() // is told once
			if *lost != c.want || r.Doubtful() != (c.want > 0) {
				t.Errorf("told %d times, doubtful %v", *lost, r.Doubtful())
			}
		})
	}
}

// A connection ends being overdue, but not the doubt: that ends when everything
// has been read, or with the registration.
func TestAConnectionIsNotYetAnAnswer(t *testing.T) {
	r, lost := away(11*time.Second, 5)
	r.Behind()
	r.SessionChanged(session.State{Kind: session.Connected})
	if r.Overdue() || !r.Doubtful() {
		t.Errorf("overdue %v, doubtful %v", r.Overdue(), r.Doubtful())
	}
	r.Behind()
	r.lost()
	if *lost != 2 || r.Doubtful() {
		t.Errorf("told %d times, doubtful %v", *lost, r.Doubtful())
	}
}
