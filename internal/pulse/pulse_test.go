package pulse

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestPulse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p Pulse
		if !p.Last().IsZero() || p.Ended() {
			t.Error("begun before it began")
		}
		p.Beat()
		time.Sleep(3 * time.Second)
		if got := time.Since(p.Last()); got != 3*time.Second {
			t.Errorf("last beat %v ago", got)
		}
		p.End()
		if !p.Ended() {
			t.Error("not ended")
		}
	})
}
