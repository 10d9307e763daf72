package tools

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"barnabas/internal/kafka"
)

// watch stays until the wanted partitions, and the moves between directories that
// go with them, are done. It tells how far they are, how fast, and what stands in
// the way.
func (r *reassigner) watch(ctx context.Context, wanted []wantedPartition) error {
	meter := progress{}
	for {
		under, err := r.moving(ctx)
		if err != nil {
			return err
		}
		left := map[kafka.TopicPartition]movingPartition{}
		for i := range wanted {
			if m, ok := under[wanted[i].tp()]; ok {
				left[wanted[i].tp()] = m
			}
		}
		states, err := r.dirStates(ctx, dirMoves(wanted))
		if err != nil {
			return err
		}
		dirs := 0
		for _, s := range states {
			if s.future != "" {
				dirs++
			}
		}
		if len(left) == 0 && dirs == 0 {
			if meter.said {
				fmt.Fprintf(r.t.err, "done\n")
			}
			return nil
		}
		if err := r.report(ctx, &meter, left, dirs); err != nil {
			return err
		}
		if sleep(ctx, pollEvery); ctx.Err() != nil {
			return fmt.Errorf("stopped watching; the reassignment goes on by itself, --verify tells how far it is")
		}
	}
}

// report writes a line about what is left, if it differs enough from the last.
func (r *reassigner) report(ctx context.Context, meter *progress, left map[kafka.TopicPartition]movingPartition, dirs int) error {
	copied, total := int64(0), int64(0)
	if len(left) > 0 {
		sizes, err := r.sizes(ctx, left)
		if err != nil {
			return err
		}
		copied, total = copiedOf(left, sizes)
	}
	line, again := meter.line(time.Now(), len(left), dirs, copied, total)
	if !again {
		return nil
	}
	fmt.Fprintln(r.t.err, line)
	return r.nameDead(ctx, left)
}

// sizes are the bytes of replicas on the brokers that run.
func (r *reassigner) sizes(ctx context.Context, of map[kafka.TopicPartition]movingPartition) (map[replicaOf]int64, error) {
	set := kadm.TopicsSet{}
	for tp := range of {
		set.Add(tp.Topic, tp.Partition)
	}
	all, err := r.admin.DescribeAllLogDirs(ctx, set)
	if len(all) == 0 && err != nil {
		return nil, explain(err)
	}
	out := map[replicaOf]int64{}
	all.Each(func(d kadm.DescribedLogDir) {
		d.Topics.Each(func(p kadm.DescribedLogDirPartition) {
			if !p.IsFuture {
				out[replicaOf{kafka.TopicPartition{Topic: p.Topic, Partition: p.Partition}, p.Broker}] = p.Size
			}
		})
	})
	return out, nil
}

// copiedOf sums up what the replicas that come have, of what they are to have:
// as much as the largest of those that were there before.
func copiedOf(moves map[kafka.TopicPartition]movingPartition, sizes map[replicaOf]int64) (copied, total int64) {
	for tp, m := range moves {
		whole := int64(0)
		for _, id := range m.sources() {
			whole = max(whole, sizes[replicaOf{tp, id}])
		}
		for _, id := range m.AddingReplicas {
			if slices.Contains(m.RemovingReplicas, id) {
				continue
			}
			copied += min(sizes[replicaOf{tp, id}], whole)
			total += whole
		}
	}
	return copied, total
}

// progress remembers what was copied when, for the speed.
type progress struct {
	samples []sampleOf
	said    bool
	saidAt  time.Time
	last    string
}

type sampleOf struct {
	at     time.Time
	copied int64
}

const (
	// speedOver is how long the speed is averaged, sayEvery how often the same is
	// said again.
	speedOver = 10 * time.Second
	sayEvery  = 10 * time.Second
)

// line says how far it is; again is false if that was said just now.
func (p *progress) line(now time.Time, partitions, dirs int, copied, total int64) (line string, again bool) {
	if n := len(p.samples); n > 0 && copied < p.samples[n-1].copied {
		p.samples = p.samples[:0] // a partition has arrived and is not counted any more
	}
	p.samples = append(p.samples, sampleOf{now, copied})
	for len(p.samples) > 2 && now.Sub(p.samples[0].at) > speedOver {
		p.samples = p.samples[1:]
	}
	line = fmt.Sprintf("%d partition%s left", partitions, plural(partitions))
	if dirs > 0 {
		line += fmt.Sprintf(", %d between directories", dirs)
	}
	if total > 0 {
		line += fmt.Sprintf(", %s of %s copied (%d %%)", bytesText(copied), bytesText(total), copied*100/total)
	}
	first := p.samples[0]
	if took := now.Sub(first.at).Seconds(); took > 0 && copied > first.copied {
		speed := float64(copied-first.copied) / took
		line += fmt.Sprintf(", %s/s, about %v left", bytesText(int64(speed)), time.Duration(float64(total-copied)/speed*float64(time.Second)).Round(time.Second))
	}
	again = line != p.last || now.Sub(p.saidAt) >= sayEvery
	if again {
		p.last, p.saidAt, p.said = line, now, true
	}
	return line, again
}

// bytesText is a size for people.
func bytesText(n int64) string {
	const k = 1024
	switch {
	case n >= k*k*k:
		return fmt.Sprintf("%.1f GiB", float64(n)/(k*k*k))
	case n >= k*k:
		return fmt.Sprintf("%.1f MiB", float64(n)/(k*k))
	case n >= k:
		return fmt.Sprintf("%.1f KiB", float64(n)/k)
	}
	return fmt.Sprintf("%d B", n)
}
