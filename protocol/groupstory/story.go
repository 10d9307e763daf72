// Package groupstory is what a group coordinator of Barnabas tells of a group
// beyond what Apache Kafka's protocol has room for: how its last generations came
// about, and how far its consumers are behind.
//
// It travels as a tagged field of DescribeGroups (KIP-482), version 5: who puts
// Tag, with any contents, at the end of the request gets a Story as JSON under
// the same tag of each group. Clients and brokers that do not know the tag skip
// it, so asking is safe anywhere; an answer without the tag is Apache Kafka's.
package groupstory

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Tag is the number of the tagged field, far from those that Kafka gives out.
const Tag uint32 = 0x42610001

// Version is the version of DescribeGroups from which on tags can be sent.
const Version int16 = 5

// Story tells of one group.
type Story struct {
	// Generations are the last rebalances, the oldest first. The last may still
	// be under way.
	Generations []Generation `json:"generations"`
	// Lag is known once the coordinator has asked the partitions' leaders.
	Lag []Lag `json:"lag,omitempty"`
}

// Generation is how one generation came about. Times are milliseconds since
// 1970; 0 is not yet.
type Generation struct {
	// Generation is 0 while members are still awaited.
	Generation int32 `json:"generation"`
	// Cause names who or what began the rebalance.
	Cause string `json:"cause"`
	// Began: members were asked to join again. Joined: all had, or the time was
	// over. Assigned: the leader's assignment was stored.
	Began    int64 `json:"began"`
	Joined   int64 `json:"joined,omitempty"`
	Assigned int64 `json:"assigned,omitempty"`
	// Members are those of the generation, Leader and Protocol their choice.
	Members  int    `json:"members"`
	Leader   string `json:"leader,omitempty"`
	Protocol string `json:"protocol,omitempty"`
	// Last was the last to join, LastAfter milliseconds after the beginning.
	Last      string `json:"last,omitempty"`
	LastAfter int64  `json:"lastAfter,omitempty"`
	// Missing did not join in time and were removed, Unsynced did not ask for
	// their assignment. Each names some; the counts are of all.
	Missing       []string `json:"missing,omitempty"`
	MissingCount  int      `json:"missingCount,omitempty"`
	Unsynced      []string `json:"unsynced,omitempty"`
	UnsyncedCount int      `json:"unsyncedCount,omitempty"`
	// Also are later causes that fell into the same rebalance.
	Also int `json:"also,omitempty"`
	// Failed says why the generation never got its assignment.
	Failed string `json:"failed,omitempty"`
}

// Lag is how far a group is behind in one partition.
type Lag struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	// Records from the committed offset to the end that consumers see.
	Records int64 `json:"records"`
	// Millis is the age of the first record that is not committed; -1 if that is
	// not known yet.
	Millis int64 `json:"millis"`
}

// Ask makes a request ask for stories.
func Ask(r *kmsg.DescribeGroupsRequest) { r.UnknownTags.Set(Tag, []byte{}) }

// Asked reports whether a request does.
func Asked(r *kmsg.DescribeGroupsRequest) bool {
	asked := false
	r.UnknownTags.Each(func(tag uint32, _ []byte) { asked = asked || tag == Tag })
	return asked
}

// Put adds a story to an answer.
func (s *Story) Put(g *kmsg.DescribeGroupsResponseGroup) error {
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("groupstory: %w", err)
	}
	g.UnknownTags.Set(Tag, b)
	return nil
}

// Of takes the story from an answer; nil if it has none.
func Of(g *kmsg.DescribeGroupsResponseGroup) (*Story, error) {
	var s *Story
	var err error
	g.UnknownTags.Each(func(tag uint32, b []byte) {
		if tag == Tag {
			s = new(Story)
			err = json.Unmarshal(b, s)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("groupstory: %w", err)
	}
	return s, nil
}

// Millis is t as stories have it: 0 for the zero time.
func Millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}
