package broker

import (
	"barnabas/broker/quota"
	"barnabas/cluster"
	"barnabas/conf"
	"barnabas/internal/kafka"
	"barnabas/internal/metrics"
)

// throttles are those of replication: rates come from the configs of brokers,
// the replicas that they are for from those of topics.
type throttles struct {
	self             kafka.BrokerID
	leader, follower *quota.Throttle
}

func newThrottles(self kafka.BrokerID, c *conf.Config) throttles {
	make := func() *quota.Throttle {
		return quota.NewThrottle(c.Replication.QuotaSamples, c.Replication.QuotaWindow)
	}
	t := throttles{self: self, leader: make(), follower: make()}
	t.configure(c)
	return t
}

// configure takes the rates.
func (t *throttles) configure(c *conf.Config) {
	t.leader.SetLimit(c.Replication.LeaderThrottle)
	t.follower.SetLimit(c.Replication.FollowerThrottle)
}

// follow takes the replicas of the topics that changed.
func (t *throttles) follow(im *cluster.Image, changes []cluster.Change) {
	for _, c := range changes {
		switch c.Kind {
		case cluster.TopicCreated, cluster.TopicDeleted, cluster.ConfigChanged:
			var config map[string]string
			if topic := im.Topic(c.Topic); topic != nil {
				config = topic.Config
			}
			t.leader.SetTopic(c.Topic, quota.ParseReplicas(config["leader.replication.throttled.replicas"], t.self))
			t.follower.SetTopic(c.Topic, quota.ParseReplicas(config["follower.replication.throttled.replicas"], t.self))
		}
	}
}

func (t *throttles) collect(p *metrics.Page) {
	t.leader.Collect(p, "leader")
	t.follower.Collect(p, "follower")
}
