package broker_test

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// The texts and codes are those of Apache Kafka 3.9.1, asked the same.

func TestTopicNames(t *testing.T) {
	n := start(t, nil)
	c := n.dial()
	for name, want := range map[string]string{
		"":    "17 Topic name is invalid: the empty string is not allowed",
		".":   "17 Topic name is invalid: '.' is not allowed",
		"..":  "17 Topic name is invalid: '..' is not allowed",
		"a b": "17 Topic name is invalid: 'a b' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'",
	} {
		req := kmsg.NewPtrCreateTopicsRequest()
		rt := kmsg.NewCreateTopicsRequestTopic()
		rt.Topic, rt.NumPartitions, rt.ReplicationFactor = name, 1, 1
		req.Topics = append(req.Topics, rt)
		got := c.do(req, 7).(*kmsg.CreateTopicsResponse).Topics[0]
		eq(t, name, fmt.Sprintf("%d %s", got.ErrorCode, str(got.ErrorMessage)), want)
	}
}

func TestTopicNamedTwice(t *testing.T) {
	n := start(t, nil)
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = 10_000
	for _, name := range []string{"dup", "dup", "nodup"} {
		rt := kmsg.NewCreateTopicsRequestTopic()
		rt.Topic, rt.NumPartitions, rt.ReplicationFactor = name, 1, 1
		req.Topics = append(req.Topics, rt)
	}
	got := ""
	for _, t := range n.dial().do(req, 7).(*kmsg.CreateTopicsResponse).Topics {
		got += fmt.Sprintf("%s %d %s\n", t.Topic, t.ErrorCode, str(t.ErrorMessage))
	}
	eq(t, "CreateTopics", got, "dup 42 Found multiple entries for this topic.\ndup 42 Found multiple entries for this topic.\nnodup 0 <nil>\n")
}

func TestCreatePartitionsByHand(t *testing.T) {
	n := start(t, nil)
	n.create("t", 3)
	c := n.dial()
	for _, x := range []struct {
		name       string
		count      int32
		assignment [][]int32
		want       string
	}{
		{"fewer", 2, nil, "37 Topic currently has 3 partitions, which is higher than the requested 2."},
		{"equal", 3, nil, "37 Topic already has 3 partitions."},
		{"wrong number", 5, [][]int32{{1}}, "39 Increasing the number of partitions by 2 but 1 assignments provided."},
		{"dead broker", 4, [][]int32{{7}}, "39 Unknown broker(s) in replica assignment: 7."},
		{"twice the same", 4, [][]int32{{1, 1}}, "39 Duplicate brokers not allowed in replica assignment: 1, 1 for partition id 3."},
		{"no replica", 4, [][]int32{{}}, "39 Cannot have replication factor of 0 for partition id 3."},
		{"right", 4, [][]int32{{1}}, "0 <nil>"},
	} {
		req := kmsg.NewPtrCreatePartitionsRequest()
		req.TimeoutMillis = 10_000
		rt := kmsg.NewCreatePartitionsRequestTopic()
		rt.Topic, rt.Count = "t", x.count
		for _, a := range x.assignment {
			rt.Assignment = append(rt.Assignment, kmsg.CreatePartitionsRequestTopicAssignment{Replicas: a})
		}
		req.Topics = append(req.Topics, rt)
		got := c.do(req, 3).(*kmsg.CreatePartitionsResponse).Topics[0]
		eq(t, x.name, fmt.Sprintf("%d %s", got.ErrorCode, str(got.ErrorMessage)), x.want)
	}
}

func TestDescribeClusterEndpointTypes(t *testing.T) {
	n := start(t, nil)
	c := n.dial()
	for kind, want := range map[int8]string{
		1: "0 <nil>",
		2: "114 The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER",
		9: "115 Unsupported endpoint type 9",
	} {
		req := kmsg.NewPtrDescribeClusterRequest()
		req.EndpointType = kind
		got := c.do(req, 1).(*kmsg.DescribeClusterResponse)
		eq(t, "endpoint type", fmt.Sprintf("%d %s", got.ErrorCode, str(got.ErrorMessage)), want)
	}
}
