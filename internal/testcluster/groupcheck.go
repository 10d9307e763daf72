package testcluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// groupHistory is what members of groups were told. Guarded by History.mu.
type groupHistory struct {
	// owners has the member that owns a partition in a generation.
	owners map[ownership]string
	// newest is the largest generation that a member was given its share in.
	newest map[string]int32
	// offsets are the commits of each group and partition.
	offsets map[groupPartition]*groupOffset
}

type ownership struct {
	group      string
	generation int32
	tp         kafka.TopicPartition
}

type groupPartition struct {
	group string
	tp    kafka.TopicPartition
}

// groupOffset is what was committed of a partition.
type groupOffset struct {
	acknowledged int64
	how          string
	sent         map[int64]bool
}

// asked is what was known when a commit was sent.
type asked struct {
	newest       int32
	acknowledged int64
	how          string
}

func (h *History) groupOffsetLocked(group string, tp kafka.TopicPartition) *groupOffset {
	g := &h.groups
	if g.offsets == nil {
		g.offsets = map[groupPartition]*groupOffset{}
	}
	o := g.offsets[groupPartition{group, tp}]
	if o == nil {
		o = &groupOffset{sent: map[int64]bool{}}
		g.offsets[groupPartition{group, tp}] = o
	}
	return o
}

// owns notes what a member was given: no partition has two owners in a generation.
func (h *History) owns(group string, generation int32, member string, tps []kafka.TopicPartition) {
	h.mu.Lock()
	defer h.mu.Unlock()
	g := &h.groups
	if g.owners == nil {
		g.owners, g.newest = map[ownership]string{}, map[string]int32{}
	}
	h.noteLocked("gr", "%s generation %d: %s owns %v", group, generation, member, tps)
	g.newest[group] = max(g.newest[group], generation)
	for _, tp := range tps {
		o := ownership{group, generation, tp}
		if old := g.owners[o]; old != "" && old != member {
			h.violateLocked("%s generation %d: %v is owned by %s and by %s", group, generation, tp, old, member)
		}
		g.owners[o] = member
	}
}

// forgotten notes that a coordinator has deleted a group: it had neither members nor
// offsets when some topic was deleted. One of its name counts generations anew.
func (h *History) forgotten(group string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	g := &h.groups
	delete(g.newest, group)
	maps.DeleteFunc(g.owners, func(o ownership, _ string) bool { return o.group == group })
}

// committing notes that a commit is about to be sent.
func (h *History) committing(group string, tp kafka.TopicPartition, offset int64) asked {
	h.mu.Lock()
	defer h.mu.Unlock()
	o := h.groupOffsetLocked(group, tp)
	o.sent[offset] = true
	return asked{h.groups.newest[group], o.acknowledged, o.how}
}

// committed notes an acknowledged commit. One that was sent when a newer generation
// had begun must not be acknowledged, nor one that moves back what had been.
func (h *History) committed(group, member string, generation int32, tp kafka.TopicPartition, offset int64, a asked) {
	h.mu.Lock()
	defer h.mu.Unlock()
	how := fmt.Sprintf("by %s in generation %d", member, generation)
	h.noteLocked("gr", "%s %v: %d is committed %s", group, tp, offset, how)
	if generation < a.newest {
		h.violateLocked("%s %v: %d was acknowledged %s, when generation %d had begun", group, tp, offset, how, a.newest)
	}
	if offset < a.acknowledged {
		h.violateLocked("%s %v: %d was acknowledged %s, after %d %s", group, tp, offset, how, a.acknowledged, a.how)
	}
	if o := h.groupOffsetLocked(group, tp); offset > o.acknowledged {
		o.acknowledged, o.how = offset, how
	}
}

// commits is the number of group partitions of which something was acknowledged,
// and the groups that there are.
func (h *History) commits() map[string][]kafka.TopicPartition {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := map[string][]kafka.TopicPartition{}
	for gp := range h.groups.offsets {
		out[gp.group] = append(out[gp.group], gp.tp)
	}
	return out
}

// checkCommitted: the last acknowledged commit is there, or a later one that was
// sent.
func (h *History) checkCommitted(group string, got map[kafka.TopicPartition]int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for tp, offset := range got {
		switch o := h.groupOffsetLocked(group, tp); {
		case offset < o.acknowledged:
			h.violateLocked("%s %v: %d was acknowledged %s, and in the end %d is there", group, tp, o.acknowledged, o.how, offset)
		case offset > 0 && !o.sent[offset]:
			h.violateLocked("%s %v: in the end %d is there, which nobody committed", group, tp, offset)
		}
	}
}

// checkGroups asks for all groups' offsets, as a consumer does.
func (c *Cluster) checkGroups(ctx context.Context) {
	k := c.newClient("checker", 2)
	defer k.close()
	commits := c.history.commits()
	for _, group := range slices.Sorted(maps.Keys(commits)) {
		for {
			at, err := k.coordinator(ctx, group)
			if err == nil {
				var got map[kafka.TopicPartition]int64
				if got, err = k.committed(ctx, at, group, commits[group]); err == nil {
					c.history.checkCommitted(group, got)
					break
				}
			}
			if !pause(ctx, 200*time.Millisecond) {
				var code protocol.Error
				c.history.violate("the offsets of %s can't be read (an answer: %v): %v", group, errors.As(err, &code), err)
				break
			}
		}
	}
}
