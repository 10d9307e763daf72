package api

import (
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/broker/group"
	"barnabas/cluster"
	"barnabas/internal/kafka"
)

// TestFindCoordinator follows the answers of Apache Kafka 3.9.1.
func TestFindCoordinator(t *testing.T) {
	b := newBroker(t)
	im := cluster.Empty()
	var created []string
	b.api.opt.Coordinators = &group.Finder{
		Image:  func() *cluster.Image { return im },
		Create: func(topic string) { created = append(created, topic) },
	}
	c := b.dial()
	ask := func(version int16, kind int8, keys ...string) *kmsg.FindCoordinatorResponse {
		r := kmsg.NewPtrFindCoordinatorRequest()
		r.SetVersion(version)
		r.CoordinatorType, r.CoordinatorKey, r.CoordinatorKeys = kind, keys[0], keys
		return call[*kmsg.FindCoordinatorResponse](c, r)
	}
	one := func(name string, version int16, kind int8, code int16, node int32, host string, port int32, text string) {
		t.Helper()
		r := ask(version, kind, "test-group")
		if version >= 4 {
			x := r.Coordinators[0]
			r.ErrorCode, r.NodeID, r.Host, r.Port, r.ErrorMessage = x.ErrorCode, x.NodeID, x.Host, x.Port, x.ErrorMessage
		}
		got := ""
		if r.ErrorMessage != nil {
			got = *r.ErrorMessage
		}
		if r.ErrorCode != code || r.NodeID != node || r.Host != host || r.Port != port || got != text {
			t.Errorf("%s: got %d %d %s:%d %q", name, r.ErrorCode, r.NodeID, r.Host, r.Port, got)
		}
	}
	const malformed = "This most likely occurs because of a request being malformed by the client library or the message was sent to an incompatible broker. See the broker logs for more details."
	one("missing topic", 3, 0, 15, -1, "", -1, "The coordinator is not available.")
	one("missing topic", 4, 0, 15, -1, "", -1, "")
	if !slices.Equal(created, []string{kafka.ConsumerOffsetsTopic, kafka.ConsumerOffsetsTopic}) {
		t.Errorf("created %v", created)
	}
	im = image()
	one("v0", 0, 0, 0, 1, "host", 9091, "")
	one("v3", 3, 0, 0, 1, "host", 9091, "NONE")
	one("v6", 6, 0, 0, 1, "host", 9091, "")
	one("share", 6, 2, 15, -1, "", -1, "")
	one("share before v6", 5, 2, 42, -1, "", -1, "")
	one("type 3", 6, 3, 42, -1, "", -1, malformed)
	one("transaction", 4, 1, 42, -1, "", -1, "This broker does not coordinate transactions.")
	if r := ask(4, 0, "a", "", "a"); len(r.Coordinators) != 3 || r.Coordinators[1].Key != "" || r.Coordinators[2].NodeID != 1 {
		t.Errorf("many keys: %+v", r.Coordinators)
	}
}
