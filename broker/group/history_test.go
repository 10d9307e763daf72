package group

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// TestHistoryIsBounded: whatever clients call themselves and give as reason,
// little is kept of it.
func TestHistoryIsBounded(t *testing.T) {
	var h chronicle
	long := strings.Repeat("ü", 1<<20)
	now := time.UnixMilli(0)
	for range 100 {
		h.rebalance(now, long)
		h.arrived(now, long)
		for range 100 {
			h.missing(long)
			h.unsynced(long)
		}
		h.past[len(h.past)-1].Assigned = 1
	}
	if len(h.past) != keptGenerations {
		t.Fatalf("%d rebalances", len(h.past))
	}
	for _, g := range h.past {
		for _, s := range append(append(g.Missing, g.Unsynced...), g.Cause, g.Last) {
			if len(s) > keptText+len("…") || !utf8.ValidString(s) {
				t.Fatalf("%d bytes, valid %v", len(s), utf8.ValidString(s))
			}
		}
		if len(g.Missing) != keptNames || g.MissingCount != 100 || g.UnsyncedCount != 100 {
			t.Errorf("%d names of %d", len(g.Missing), g.MissingCount)
		}
	}
}
