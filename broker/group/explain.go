package group

import (
	"time"

	"barnabas/protocol"
	"barnabas/protocol/groupstory"
)

// Explain tells how a group came to be as it is, and how far behind it is. A
// group that does not exist has an empty story.
func (c *Coordinator) Explain(group string) (groupstory.Story, protocol.Error) {
	g, err := c.lock(group, false)
	if err != ok || g == nil {
		return groupstory.Story{}, err
	}
	story := g.m.Story()
	g.mu.Unlock()
	story.Lag = c.lag(g, time.Now().UnixMilli())
	return story, ok
}
