package cluster

import (
	"errors"
	"slices"

	"barnabas/internal/kafka"
)

// Node is a broker that replicas may be placed on.
type Node struct {
	ID   kafka.BrokerID
	Rack string
}

// ErrRacks means that some brokers have a rack and others none, so that no
// placement can be aware of them (kafka.admin.AdminUtils).
var ErrRacks = errors.New("Not all brokers have rack information. Add --disable-rack-aware in command line to make replica assignment without rack information.")

// Nodes lists the live brokers of an image for placement. With some racks
// missing it fails with ErrRacks if strict, and forgets the others if not.
func Nodes(im *Image, strict bool) ([]Node, error) {
	var out []Node
	with := 0
	for _, b := range im.Brokers() {
		out = append(out, Node{b.ID, b.Rack})
		if b.Rack != "" {
			with++
		}
	}
	if with > 0 && with < len(out) {
		if strict {
			return nil, ErrRacks
		}
		for i := range out {
			out[i].Rack = ""
		}
	}
	return out, nil
}

// Place spreads count partitions, the first numbered from, over nodes with rf
// replicas each (kafka.admin.AdminUtils.assignReplicasToBrokers). start and
// shift are random numbers: which broker comes first, and by how much the
// followers are shifted. It needs 1 <= rf <= len(nodes).
func Place(nodes []Node, from, count int32, rf, start, shift int) map[int32][]kafka.BrokerID {
	nodes = slices.SortedFunc(slices.Values(nodes), func(a, b Node) int { return int(a.ID) - int(b.ID) })
	racks := 0
	if nodes[0].Rack != "" {
		nodes, racks = alternate(nodes)
	}
	n := len(nodes)
	start, shift = start%n, shift%n
	out := make(map[int32][]kafka.BrokerID, count)
	for p := from; p < from+count; p++ {
		if p > 0 && int(p)%n == 0 {
			shift++
		}
		first := (int(p) + start) % n
		if racks == 0 {
			replicas := []kafka.BrokerID{nodes[first].ID}
			for r := range rf - 1 {
				replicas = append(replicas, nodes[follower(first, shift, r, n)].ID)
			}
			out[p] = replicas
			continue
		}
		out[p] = overRacks(nodes, racks, first, shift, rf)
	}
	return out
}

func follower(first, shift, r, n int) int { return (first + 1 + (shift+r)%(n-1)) % n }

// overRacks takes a broker of each rack before a second one of any.
func overRacks(nodes []Node, racks, first, shift, rf int) []kafka.BrokerID {
	n := len(nodes)
	replicas := []kafka.BrokerID{nodes[first].ID}
	used := map[string]bool{nodes[first].Rack: true}
	for k := 0; len(replicas) < rf; k++ {
		c := nodes[follower(first, shift*racks, k, n)]
		if (!used[c.Rack] || len(used) == racks) && !slices.Contains(replicas, c.ID) {
			replicas = append(replicas, c.ID)
			used[c.Rack] = true
		}
	}
	return replicas
}

// alternate orders brokers so that neighbours are in different racks: the first
// of each rack by name, then the second of each.
func alternate(nodes []Node) (out []Node, racks int) {
	byRack := map[string][]Node{}
	var names []string
	for _, b := range nodes {
		if byRack[b.Rack] == nil {
			names = append(names, b.Rack)
		}
		byRack[b.Rack] = append(byRack[b.Rack], b)
	}
	slices.Sort(names)
	for i := 0; len(out) < len(nodes); i++ {
		for _, r := range names {
			if i < len(byRack[r]) {
				out = append(out, byRack[r][i])
			}
		}
	}
	return out, len(names)
}
