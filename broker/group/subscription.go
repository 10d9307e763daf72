package group

import "barnabas/protocol/grouplog"

// subscriptions are the topics that the members of the generation subscribe to;
// nil if that can't be told.
func (m *Machine) subscriptions() map[string]struct{} {
	if m.protocolType != grouplog.ConsumerProtocol {
		return nil
	}
	topics := map[string]struct{}{}
	for _, p := range m.order {
		list, good := grouplog.SubscribedTopics(p.metadata(*m.protocol))
		if !good {
			return nil
		}
		for _, t := range list {
			topics[t] = struct{}{}
		}
	}
	return topics
}
