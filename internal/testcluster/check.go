package testcluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
	"barnabas/log/batch"
)

// describe is what an image says of topics, as text: equal images have equal texts.
// Who is alive is left out: a load reads it from the registrations, which the log
// tells of a little later.
func describe(im *cluster.Image, without map[string]bool) string {
	var b strings.Builder
	topics := slices.SortedFunc(im.Topics(), func(x, y *cluster.Topic) int { return strings.Compare(x.Name, y.Name) })
	for _, t := range topics {
		if without[t.Name] {
			continue
		}
		fmt.Fprintf(&b, "topic %s %s %v\n", t.Name, t.ID, t.Config)
		for n, p := range t.Partitions {
			if p != nil {
				fmt.Fprintf(&b, "  %d: replicas %v +%v -%v leader %d epoch %d isr %v version %d zxid %d\n",
					n, p.Replicas, p.Adding, p.Removing, p.Leader, p.LeaderEpoch, p.ISR, p.PartitionEpoch, p.Zxid)
			}
		}
	}
	return b.String()
}

// imageAt is what a broker knew after an entry of the change log.
type imageAt struct{ log, next int64 }

// compareImages looks at the brokers' images until ctx ends: after the same entry
// they must be the same.
func (c *Cluster) compareImages(ctx context.Context) {
	type seen struct{ who, text string }
	known := map[imageAt]seen{}
	var edited map[string]bool
	last := make([]*cluster.Image, len(c.nodes)) // are compared already
	for pause(ctx, 50*time.Millisecond) {
		c.mu.Lock()
		if len(c.edited) != len(edited) {
			edited = maps.Clone(c.edited)
			clear(known)
			clear(last)
		}
		c.mu.Unlock()
		for i, n := range c.nodes {
			im := n.Image()
			if im == nil || im.Log == 0 || im == last[i] {
				continue
			}
			last[i] = im
			at, text := imageAt{im.Log, im.Next}, describe(im, edited)
			if old, ok := known[at]; !ok {
				known[at] = seen{n.name(), text}
			} else if old.text != text {
				c.history.violate("after entry %d the images of %s and %s differ:\n%s---\n%s", im.Next-1, old.who, n.name(), old.text, text)
				return
			}
		}
	}
}

// whole reports whether every broker runs and knows all partitions to be led and
// in sync.
func (c *Cluster) whole() (bool, string) {
	for _, n := range c.nodes {
		im := n.Image()
		switch {
		case im == nil:
			return false, n.name() + " doesn't run"
		case len(im.Brokers()) != len(c.nodes):
			return false, fmt.Sprintf("%s knows %d brokers", n.name(), len(im.Brokers()))
		}
		for t := range im.Topics() {
			for i, p := range t.Partitions {
				switch {
				case p == nil || !p.HasState || p.Leader == kafka.NoBroker:
					return false, fmt.Sprintf("%s knows no leader of %s-%d", n.name(), t.Name, i)
				case len(p.Adding)+len(p.Removing) > 0:
					return false, fmt.Sprintf("%s knows %s-%d to be reassigned: %v +%v -%v", n.name(), t.Name, i, p.Replicas, p.Adding, p.Removing)
				case !sameBrokers(p.ISR, p.Replicas):
					return false, fmt.Sprintf("%s knows ISR %v of %s-%d, replicas %v, leader %d", n.name(), p.ISR, t.Name, i, p.Replicas, p.Leader)
				}
			}
		}
	}
	return true, ""
}

func sameBrokers(a, b []kafka.BrokerID) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

// checkReads reads each topic to its end, as a consumer does, and compares with
// what was promised.
func (c *Cluster) checkReads(ctx context.Context, topics []Topic) {
	k := c.newClient("checker", 1)
	defer k.close()
	for _, t := range topics {
		for partition := range c.size(t) {
			tp := kafka.TopicPartition{Topic: t.Name, Partition: partition}
			got, err := k.readAll(ctx, tp)
			if err != nil {
				c.history.violate("%v can't be read to its end: %v", tp, err)
				continue
			}
			c.history.checkPromises(tp, got)
			c.history.checkOrder(tp, got)
		}
	}
}

// readAll reads a partition up to its high watermark.
func (k *client) readAll(ctx context.Context, tp kafka.TopicPartition) ([]fetched, error) {
	var all []fetched
	next := int64(0)
	for {
		got, hw, err := k.fetch(ctx, tp, next, 0)
		switch {
		case err != nil:
			delete(k.leaders, tp)
			if !pause(ctx, 100*time.Millisecond) {
				return all, fmt.Errorf("%w: at %d", err, next)
			}
		case len(got) == 0 && next >= hw:
			return all, nil
		case len(got) == 0:
			return all, fmt.Errorf("testcluster: nothing at %d, and the high watermark is %d", next, hw)
		default:
			all = append(all, got...)
			next = got[len(got)-1].offset + 1
		}
	}
}

// checkPromises: whatever somebody was told of is there.
func (h *History) checkPromises(tp kafka.TopicPartition, got []fetched) {
	h.mu.Lock()
	defer h.mu.Unlock()
	there := map[int64]string{}
	for _, g := range got {
		there[g.offset] = g.value
	}
	for _, offset := range slices.Sorted(maps.Keys(h.known[tp])) {
		p := h.known[tp][offset]
		switch v, ok := there[offset]; {
		case !ok:
			h.violateLocked("%v offset %d: %s was %s, and is lost", tp, offset, p.value, p.how)
		case v != p.value:
			h.violateLocked("%v offset %d: %s was %s, and in the end %s is there", tp, offset, p.value, p.how, v)
		}
	}
}

// checkOrder: what one producer sent is in the order of its sending, and of an
// idempotent one (their names begin with "i") nothing is there twice.
func (h *History) checkOrder(tp kafka.TopicPartition, got []fetched) {
	h.mu.Lock()
	defer h.mu.Unlock()
	last := map[string]int{}
	seen := map[string]int64{}
	for _, g := range got {
		parts := strings.Split(g.value, "/")
		if len(parts) != 3 {
			h.violateLocked("%v offset %d: %q was never sent", tp, g.offset, g.value)
			continue
		}
		number, _ := strconv.Atoi(parts[2]) // made by value
		if at, dup := seen[g.value]; dup {
			if strings.HasPrefix(parts[0], "i") {
				h.violateLocked("%v: %s is at %d and at %d", tp, g.value, at, g.offset)
			}
			continue
		}
		seen[g.value] = g.offset
		if before, ok := last[parts[0]]; ok && number < before {
			h.violateLocked("%v offset %d: %s comes after number %d", tp, g.offset, g.value, before)
		}
		last[parts[0]] = number
	}
}

// logOf is the content of a partition's segments on a broker's disks.
func (n *Node) logOf(tp kafka.TopicPartition) ([]byte, error) {
	files := n.disk.whole()
	var dir string
	var names []string
	for _, d := range n.disk.dirs {
		there, err := files.List(path.Join(d, tp.String()))
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, err
		case dir != "":
			return nil, fmt.Errorf("it is in %s and in %s", dir, d)
		default:
			dir, names = path.Join(d, tp.String()), there
		}
	}
	if dir == "" {
		return nil, fs.ErrNotExist
	}
	var segments []string
	for _, name := range names {
		if path.Ext(name) == ".log" {
			segments = append(segments, name)
		}
	}
	sort.Strings(segments)
	var all []byte
	for _, name := range segments {
		b, err := vfs.ReadFile(files, path.Join(dir, name), 1<<30)
		if err != nil {
			return nil, err
		}
		all = append(all, b...)
	}
	return all, nil
}

// checkLogs compares the replicas' files of a stopped cluster: they must be the
// same, byte for byte.
func (c *Cluster) checkLogs(topics []Topic, replicas map[kafka.TopicPartition][]kafka.BrokerID) {
	for _, t := range topics {
		for partition := range c.size(t) {
			tp := kafka.TopicPartition{Topic: t.Name, Partition: partition}
			var first []byte
			for i, id := range replicas[tp] {
				b, err := c.nodes[id].logOf(tp)
				if err != nil {
					c.history.violate("%v on broker %d: %v", tp, id, err)
					continue
				}
				if i == 0 {
					first = b
				} else if string(b) != string(first) {
					c.history.violate("%v: the logs of brokers %d and %d differ:\n%s---\n%s", tp, replicas[tp][0], id, outline(first), outline(b))
				}
			}
		}
	}
}

// outline lists the batches of a log.
func outline(b []byte) string {
	var out strings.Builder
	for len(b) > 0 {
		h, whole, rest, err := batch.Next(b)
		if err != nil {
			fmt.Fprintf(&out, "  %d bytes: %v\n", len(b), err)
			break
		}
		got, _ := records(whole, 0) // what is bad is listed without its values
		fmt.Fprintf(&out, "  %d-%d epoch %d crc %08x %v\n", h.BaseOffset, h.LastOffset(), h.LeaderEpoch, h.CRC, got)
		b = rest
	}
	return out.String()
}
