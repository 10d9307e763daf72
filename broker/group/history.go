package group

import (
	"strings"
	"time"

	"barnabas/protocol/groupstory"
)

const (
	// keptText bounds each text, in bytes: clients choose their names and reasons.
	keptText = 255
	// keptGenerations is how many rebalances a group remembers, keptNames how many
	// members it names in one list.
	keptGenerations = 10
	keptNames       = 10
)

// chronicle remembers the last rebalances of a group, for those who ask why it
// does nothing else. The last is under way unless it is assigned or failed.
type chronicle struct {
	past  []groupstory.Generation
	began time.Time // of the last
}

// rebalance notes why a rebalance begins. One that is still waiting for members
// goes on; one whose generation is not assigned yet has failed.
func (h *chronicle) rebalance(now time.Time, cause string) {
	if g := h.open(); g != nil {
		if g.Joined == 0 {
			g.Also++
			return
		}
		g.Failed = shorten("rebalanced again: " + cause)
	}
	if len(h.past) == keptGenerations {
		h.past = append(h.past[:0], h.past[1:]...)
	}
	h.past = append(h.past, groupstory.Generation{Cause: shorten(cause), Began: groupstory.Millis(now)})
	h.began = now
}

// open is the rebalance under way; nil if there is none.
func (h *chronicle) open() *groupstory.Generation {
	if len(h.past) == 0 {
		return nil
	}
	g := &h.past[len(h.past)-1]
	if g.Assigned != 0 || g.Failed != "" || g.Joined != 0 && g.Members == 0 {
		return nil
	}
	return g
}

// arrived notes that a member joined.
func (h *chronicle) arrived(now time.Time, id string) {
	if g := h.open(); g != nil && g.Joined == 0 {
		g.Last, g.LastAfter = shorten(id), now.Sub(h.began).Milliseconds()
	}
}

// missing notes a member that did not join in time.
func (h *chronicle) missing(id string) {
	if g := h.open(); g != nil {
		g.MissingCount++
		g.Missing = appendName(g.Missing, id)
	}
}

// unsynced notes, on the rebalance that it was removed from, a member that did
// not ask for its assignment.
func (h *chronicle) unsynced(id string) {
	if len(h.past) > 0 {
		g := &h.past[len(h.past)-1]
		g.UnsyncedCount++
		g.Unsynced = appendName(g.Unsynced, id)
	}
}

func appendName(list []string, id string) []string {
	if len(list) < keptNames {
		list = append(list, shorten(id))
	}
	return list
}

// shorten cuts a text to keptText bytes. The result shares none with it.
func shorten(s string) string {
	if len(s) <= keptText {
		return s
	}
	s = s[:keptText]
	return strings.ToValidUTF8(s, "") + "…"
}

// joined notes a new generation.
func (h *chronicle) joined(now time.Time, m *Machine) {
	g := h.open()
	if g == nil {
		return
	}
	g.Generation, g.Joined, g.Members, g.Leader = m.generation, groupstory.Millis(now), len(m.order), shorten(m.leader)
	if m.protocol != nil {
		g.Protocol = shorten(*m.protocol)
	}
}

// assigned notes that the generation has its assignment.
func (h *chronicle) assigned(now time.Time) {
	if g := h.open(); g != nil {
		g.Assigned = groupstory.Millis(now)
	}
}

// Story tells how the group came to be as it is. The lists are copies.
func (m *Machine) Story() groupstory.Story {
	return groupstory.Story{Generations: append([]groupstory.Generation(nil), m.history.past...)}
}
