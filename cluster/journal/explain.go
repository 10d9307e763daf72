package journal

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"barnabas/cluster"
	"barnabas/internal/kafka"
)

// Explanation is what is known of one thing: as it is, and how it became so. It
// goes from a broker to the tool as JSON.
type Explanation struct {
	Subject string         `json:"subject"`
	Now     int64          `json:"now"` // the asked broker's clock, in ms since 1970
	By      kafka.BrokerID `json:"by"`  // who answers; NoBroker if it was read from ZooKeeper

	Partition  *PartitionFacts  `json:"partition,omitempty"`
	Broker     *BrokerFacts     `json:"broker,omitempty"`
	Controller *ControllerFacts `json:"controller,omitempty"`
}

// PartitionFacts tell of one partition.
type PartitionFacts struct {
	TP          kafka.TopicPartition `json:"tp"`
	Replicas    []kafka.BrokerID     `json:"replicas"`
	Adding      []kafka.BrokerID     `json:"adding,omitempty"`
	Removing    []kafka.BrokerID     `json:"removing,omitempty"`
	HasState    bool                 `json:"has_state"`
	Leader      kafka.BrokerID       `json:"leader"`
	LeaderEpoch kafka.LeaderEpoch    `json:"leader_epoch"`
	ISR         []kafka.BrokerID     `json:"isr"`
	Offline     []kafka.BrokerID     `json:"offline,omitempty"`
	Recovering  bool                 `json:"recovering,omitempty"`
	MinISR      int                  `json:"min_isr"`
	Unclean     bool                 `json:"unclean"`
	Alive       []kafka.BrokerID     `json:"alive"` // of the replicas
	Stopping    []kafka.BrokerID     `json:"stopping,omitempty"`
	Crashed     []kafka.BrokerID     `json:"crashed,omitempty"`
	History     []Change             `json:"history"`
	// Before are the last changes of the brokers that led, since a leader moves
	// because of them.
	Before map[kafka.BrokerID][]BrokerChange `json:"before,omitempty"`
}

// BrokerFacts tell of one broker.
type BrokerFacts struct {
	ID       kafka.BrokerID    `json:"id"`
	Alive    bool              `json:"alive"`
	Epoch    kafka.BrokerEpoch `json:"epoch,omitempty"`
	Stopping bool              `json:"stopping,omitempty"`
	Crashed  bool              `json:"crashed,omitempty"`
	Rack     string            `json:"rack,omitempty"`
	Version  string            `json:"version,omitempty"`
	Address  string            `json:"address,omitempty"`
	// Leads and Replicas count partitions; OutOfSync are those of its replicas that
	// are not in the ISR, some of which Examples name.
	Leads     int            `json:"leads"`
	Replicas  int            `json:"replicas"`
	OutOfSync int            `json:"out_of_sync"`
	Examples  []string       `json:"examples,omitempty"`
	History   []BrokerChange `json:"history"`
}

// ControllerFacts tell of the controller.
type ControllerFacts struct {
	ID     kafka.BrokerID        `json:"id"`
	Alive  bool                  `json:"alive"`
	Epoch  kafka.ControllerEpoch `json:"epoch"`
	Reigns []Origin              `json:"reigns"`
	// Before are the last changes of those who reigned.
	Before map[kafka.BrokerID][]BrokerChange `json:"before,omitempty"`
}

// ErrSubject is a subject that can't be explained: not understood, or not there.
var ErrSubject = errors.New("journal: nothing to explain")

// Settings are what the configuration says of a topic.
type Settings struct {
	MinISR  int
	Unclean bool
}

// Explain tells of a subject: "topic-partition", "broker N" or "controller".
// settings gives the effective configs of a topic with these overrides.
func Explain(im *cluster.Image, j *Journal, subject string, settings func(overrides map[string]string) Settings) (*Explanation, error) {
	e := &Explanation{Subject: subject, By: kafka.NoBroker}
	if subject == "controller" {
		e.Controller = controllerFacts(im, j)
		return e, nil
	}
	if text, ok := strings.CutPrefix(subject, "broker "); ok {
		id, err := strconv.ParseInt(strings.TrimSpace(text), 10, 32)
		if err != nil || id < 0 {
			return nil, fmt.Errorf("%w: %q is not the id of a broker", ErrSubject, text)
		}
		e.Broker = brokerFacts(im, j, kafka.BrokerID(id))
		return e, nil
	}
	tp, err := kafka.ParseTopicPartition(subject)
	if err != nil {
		return nil, fmt.Errorf("%w: %q is neither a partition (orders-0) nor \"broker N\" nor \"controller\"", ErrSubject, subject)
	}
	t := im.Topic(tp.Topic)
	switch {
	case t == nil:
		return nil, fmt.Errorf("%w: there is no topic %s", ErrSubject, tp.Topic)
	case t.Partition(tp.Partition) == nil:
		return nil, fmt.Errorf("%w: topic %s has no partition %d; it has %d partitions", ErrSubject, tp.Topic, tp.Partition, t.Count())
	}
	e.Partition = partitionFacts(im, j, tp, t, settings(t.Config))
	return e, nil
}

func partitionFacts(im *cluster.Image, j *Journal, tp kafka.TopicPartition, t *cluster.Topic, s Settings) *PartitionFacts {
	p := t.Partition(tp.Partition)
	f := &PartitionFacts{
		TP: tp, Replicas: p.Replicas, Adding: p.Adding, Removing: p.Removing, HasState: p.HasState, Leader: p.Leader, LeaderEpoch: p.LeaderEpoch,
		ISR: p.ISR, Offline: p.Offline, Recovering: p.Recovering, MinISR: min(s.MinISR, len(p.Replicas)), Unclean: s.Unclean,
		History: j.Partition(tp), Before: map[kafka.BrokerID][]BrokerChange{},
	}
	for _, id := range p.Replicas {
		b := im.Broker(id)
		if b == nil {
			f.Before[id] = j.Broker(id)
			continue
		}
		f.Alive = append(f.Alive, id)
		if b.Stopping {
			f.Stopping = append(f.Stopping, id)
		}
		if b.Crashed {
			f.Crashed = append(f.Crashed, id)
		}
	}
	for _, c := range f.History {
		if c.State != nil && c.State.Leader != kafka.NoBroker {
			f.Before[c.State.Leader] = j.Broker(c.State.Leader)
		}
	}
	return f
}

func brokerFacts(im *cluster.Image, j *Journal, id kafka.BrokerID) *BrokerFacts {
	f := &BrokerFacts{ID: id, History: j.Broker(id)}
	if b := im.Broker(id); b != nil {
		f.Alive, f.Epoch, f.Stopping, f.Crashed, f.Rack, f.Version = true, b.Epoch, b.Stopping, b.Crashed, b.Rack, b.Version
		if len(b.Endpoints) > 0 {
			f.Address = fmt.Sprintf("%s://%s:%d", b.Endpoints[0].Listener, b.Endpoints[0].Host, b.Endpoints[0].Port)
		}
	}
	const examples = 5
	for t := range im.Topics() {
		for i, p := range t.Partitions {
			if p == nil || !slices.Contains(p.Replicas, id) {
				continue
			}
			f.Replicas++
			if p.Leader == id {
				f.Leads++
			}
			if p.HasState && !slices.Contains(p.ISR, id) {
				if f.OutOfSync++; len(f.Examples) < examples {
					f.Examples = append(f.Examples, kafka.TopicPartition{Topic: t.Name, Partition: int32(i)}.String())
				}
			}
		}
	}
	slices.Sort(f.Examples)
	return f
}

func controllerFacts(im *cluster.Image, j *Journal) *ControllerFacts {
	f := &ControllerFacts{ID: im.Controller, Alive: im.LiveController() != kafka.NoBroker, Epoch: im.ControllerEpoch, Reigns: j.Reigns(),
		Before: map[kafka.BrokerID][]BrokerChange{}}
	for _, r := range f.Reigns {
		f.Before[r.Controller] = j.Broker(r.Controller)
	}
	return f
}
