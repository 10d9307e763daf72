package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// reload measures how soon after a crash of its coordinator everybody has their
// offsets again: the broker is killed, and when its ZooKeeper session must have
// ended, it is started. One OffsetFetch asks again and again for all offsets of a
// group of each partition of __consumer_offsets, so that it is answered without
// an error when all are loaded; the answers are compared with what was committed.
func (b *bench) reload(s *side, _ int) ([]figure, error) {
	req, want, err := b.fetchAll(s)
	if err != nil {
		return nil, err
	}
	if err := s.crash(); err != nil {
		return nil, err
	}
	time.Sleep(b.pause)
	began := time.Now()
	if err := s.again(); err != nil {
		return nil, err
	}
	w, first, err := awaitAnswer(s, began)
	if err != nil {
		return nil, err
	}
	defer w.Close()
	for {
		resp, err := w.call(req, 8, callTimeout)
		if err != nil {
			return nil, err
		}
		switch loaded, err := judge(resp.(*kmsg.OffsetFetchResponse), want); {
		case err != nil:
			return nil, err
		case loaded:
			name := fmt.Sprintf("reload of %d offsets after kill -9", b.groups*dataPartitions)
			return []figure{
				{name, "ms from its first answer", ms(time.Since(first)), less},
				{name, "s from the start of its process", time.Since(began).Seconds(), less},
			}, nil
		}
		if time.Since(began) > reloadPatience {
			return nil, errors.New("the offsets are not loaded in time")
		}
		time.Sleep(2 * time.Millisecond)
	}
}

const reloadPatience = 3 * time.Minute

// awaitAnswer connects until the broker answers FindCoordinator without an error
// or with one; first is when it did.
func awaitAnswer(s *side, began time.Time) (*wire, time.Time, error) {
	for time.Since(began) < reloadPatience {
		w, err := dial(s.addr)
		if err == nil {
			find := kmsg.NewPtrFindCoordinatorRequest()
			find.CoordinatorKeys = []string{fillGroup(0)}
			if _, err = w.call(find, 4, reloadPatience); err == nil {
				return w, time.Now(), nil
			}
			w.Close()
		}
		time.Sleep(2 * time.Millisecond)
	}
	return nil, time.Time{}, errors.New("the broker does not answer")
}

// fetchAll asks for a group of each partition of __consumer_offsets; want has the
// offset that each of them has committed for all its partitions.
func (b *bench) fetchAll(s *side) (*kmsg.OffsetFetchRequest, map[string]int64, error) {
	partitions, err := partitionsOf(s, "__consumer_offsets")
	if err != nil {
		return nil, nil, err
	}
	req, want := kmsg.NewPtrOffsetFetchRequest(), map[string]int64{}
	seen := make([]bool, partitions)
	for i := range b.groups {
		name := fillGroup(i)
		if p := javaHash(name) % int32(partitions); !seen[p] {
			seen[p] = true
			g := kmsg.NewOffsetFetchRequestGroup()
			g.Group, g.Topics = name, nil // all
			req.Groups, want[name] = append(req.Groups, g), int64(i)
		}
	}
	if slices.Contains(seen, false) {
		return nil, nil, errors.New("too few groups: one partition of __consumer_offsets has none")
	}
	return req, want, nil
}

// javaHash is String.hashCode without its sign, by which groups have partitions.
func javaHash(s string) int32 {
	var h int32
	for _, c := range []byte(s) {
		h = 31*h + int32(c)
	}
	return h & 0x7fffffff
}

// judge reports whether all groups were answered with their offsets. An answer
// without an error and with other offsets is an error.
func judge(resp *kmsg.OffsetFetchResponse, want map[string]int64) (loaded bool, _ error) {
	if len(resp.Groups) != len(want) {
		return false, fmt.Errorf("%d groups were answered, %d asked for", len(resp.Groups), len(want))
	}
	for _, g := range resp.Groups {
		if err := kerr.ErrorForCode(g.ErrorCode); err != nil {
			if !kerr.IsRetriable(err) {
				return false, fmt.Errorf("group %s: %w", g.Group, err)
			}
			return false, nil
		}
		n := 0
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				if p.Offset != want[g.Group] || p.ErrorCode != 0 {
					return false, fmt.Errorf("group %s, partition %d: offset %d and error %d, committed was %d", g.Group, p.Partition, p.Offset, p.ErrorCode, want[g.Group])
				}
				n++
			}
		}
		if n != dataPartitions {
			return false, fmt.Errorf("group %s has %d offsets, committed were %d", g.Group, n, dataPartitions)
		}
	}
	return true, nil
}

// awaitCoordinator asks until there is a coordinator.
func awaitCoordinator(w *wire) error {
	for range 300 {
		find := kmsg.NewPtrFindCoordinatorRequest()
		find.CoordinatorKeys = []string{fillGroup(0)}
		resp, err := w.call(find, 4, callTimeout)
		if err != nil {
			return err
		}
		if c := resp.(*kmsg.FindCoordinatorResponse).Coordinators; len(c) == 1 && c[0].ErrorCode == 0 {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return errors.New("there is no group coordinator")
}

// partitionsOf is how many partitions a topic has.
func partitionsOf(s *side, topic string) (int, error) {
	w, err := dial(s.addr)
	if err != nil {
		return 0, err
	}
	defer w.Close()
	req := kmsg.NewPtrMetadataRequest()
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = &topic
	req.Topics = append(req.Topics, t)
	resp, err := w.call(req, 7, callTimeout)
	if err != nil {
		return 0, err
	}
	if m := resp.(*kmsg.MetadataResponse); len(m.Topics) == 1 && len(m.Topics[0].Partitions) > 0 {
		return len(m.Topics[0].Partitions), nil
	}
	return 0, fmt.Errorf("topic %s has no partitions", topic)
}
