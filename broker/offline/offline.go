// Package offline tells the controller which replicas of this broker can't be
// served: their log directory failed, their log is still being checked after the
// start, or it is missing. Each report names all of them and is a znode of
// /log_dir_event_notification, as Apache Kafka's notice of a failed directory; the
// first comes in the transaction of the registration.
//
// What counts is that the image says the same: a Reporter compares the two whenever
// one may have changed, and reports until they agree. So nothing is lost with a
// controller that died, and each new one, which knows only what znodes hold, is
// told again.
package offline

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/zkpaths"
	"barnabas/zkpaths/session"
)

const (
	// settle is the least time between two looks: what comes together is told
	// together.
	settle = 200 * time.Millisecond
	// repeat is how long the controller may take before it is told again; it
	// doubles up to maxRepeat.
	repeat, maxRepeat = 5 * time.Second, time.Minute
	// glance is the time between two looks when nothing calls for one.
	glance = time.Minute
	// maxReport bounds a report's znode, in bytes.
	maxReport = session.MaxOpBytes - 4096
)

// Replica is one that can't be served.
type Replica struct {
	TopicID   kafka.TopicID
	Partition int32
}

// Options of a Reporter; all but Logger are required.
type Options struct {
	Self   kafka.BrokerID
	Client *session.Client
	Image  func() *cluster.Image
	// Offline lists the replicas that an image assigns to this broker and that it
	// can't serve.
	Offline func(im *cluster.Image) []Replica
	// Registered reports whether this broker is.
	Registered func() bool
	Logger     *slog.Logger
}

// Reporter reports. It is safe for concurrent use.
type Reporter struct {
	o    Options
	wake chan struct{}
	// interested: something was offline at the last look, or is in the image.
	interested atomic.Bool
	// first is what was reported with the registration, until Run has taken it up.
	first atomic.Pointer[set]
	// replace writes a report's znode in the place of the last one, if there is one,
	// and returns its path; tests have their own.
	replace func(ctx context.Context, last string, data []byte) (path string, err error)

	// Run's only.
	last  string // path of the last report
	told  set    // what it said; nil once the image says the same
	epoch kafka.ControllerEpoch
	at    time.Time
	wait  time.Duration
}

// set is a set of replicas.
type set map[Replica]bool

// New makes a Reporter that reports nothing before Run.
func New(o Options) *Reporter {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Reporter{o: o, wake: make(chan struct{}, 1)}
	r.replace = r.replaceZnode
	r.interested.Store(true) // an earlier life may have left something in the image
	return r
}

// Look says that replicas may have become offline, or usable. It never waits.
func (r *Reporter) Look() {
	r.interested.Store(true)
	r.poke()
}

func (r *Reporter) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Changed hears of each new image. It never waits.
func (r *Reporter) Changed() {
	if r.interested.Load() {
		r.poke()
	}
}

// AtRegistration is the report for the transaction of a registration; nil if all
// replicas can be served.
func (r *Reporter) AtRegistration() []byte {
	offline := r.o.Offline(r.o.Image())
	if len(offline) == 0 {
		return nil
	}
	said := setOf(offline)
	r.first.Store(&said)
	r.interested.Store(true)
	return r.encode(offline)
}

func setOf(offline []Replica) set {
	s := set{}
	for _, x := range offline {
		s[x] = true
	}
	return s
}

// encode makes a report of as many as fit into a znode.
func (r *Reporter) encode(offline []Replica) []byte {
	byTopic := map[kafka.TopicID][]int32{}
	for _, x := range offline {
		byTopic[x.TopicID] = append(byTopic[x.TopicID], x.Partition)
	}
	e := zkpaths.LogDirEvent{Broker: r.o.Self, Event: zkpaths.LogDirFailure, Complete: true}
	size, left := 0, 0
	for id, partitions := range byTopic {
		if size += 50 + 7*len(partitions); size > maxReport {
			left += len(partitions)
			continue
		}
		slices.Sort(partitions)
		e.Offline = append(e.Offline, zkpaths.LogDirTopic{ID: id, Partitions: partitions})
	}
	if left > 0 {
		r.o.Logger.Error("more replicas are offline than a report has room for", "left_out", left)
	}
	return e.Encode()
}

// Run reports until ctx ends.
func (r *Reporter) Run(ctx context.Context) error {
	tick := time.NewTicker(repeat)
	defer tick.Stop()
	var looked time.Time
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.wake:
		case <-tick.C:
		}
		if !r.interested.Load() && time.Since(looked) < glance {
			continue
		}
		looked = time.Now()
		if err := r.look(ctx); err != nil && ctx.Err() == nil {
			r.o.Logger.Warn("the controller can't be told which replicas are offline; trying again", "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(settle):
		}
	}
}

// look compares, and reports if that is due.
func (r *Reporter) look(ctx context.Context) error {
	if !r.o.Registered() {
		return nil
	}
	r.interested.Store(false) // before the look: what comes meanwhile asks for another
	im := r.o.Image()
	offline := r.o.Offline(im)
	now, known := setOf(offline), inImage(im, r.o.Self)
	if first := r.first.Swap(nil); first != nil {
		r.told, r.at, r.wait = *first, time.Now(), repeat
	}
	// An image that agrees says nothing while a report that does not is on its way:
	// a log may be opened before the controller has read that it is not.
	agreed := maps.Equal(now, known) && (r.told == nil || maps.Equal(now, r.told))
	if len(now) > 0 || !agreed {
		r.interested.Store(true)
	}
	began := im.ControllerEpoch != r.epoch
	if agreed && (!began || len(now) == 0) {
		r.epoch, r.told = im.ControllerEpoch, nil
		return nil
	}
	if !began && r.told != nil && maps.Equal(now, r.told) && time.Since(r.at) < r.wait {
		return nil // it is being worked on
	}
	return r.report(ctx, im, offline, now, began)
}

// replaceZnode is Reporter.replace in ZooKeeper.
func (r *Reporter) replaceZnode(ctx context.Context, last string, data []byte) (path string, err error) {
	if last != "" {
		if err := r.o.Client.Delete(ctx, last, -1); err != nil && !errors.Is(err, session.ErrNoNode) {
			return "", err
		}
	}
	return r.o.Client.CreateAll(ctx, zkpaths.LogDirEventPath, data, session.PersistentSequential)
}

// report writes a report.
func (r *Reporter) report(ctx context.Context, im *cluster.Image, offline []Replica, now set, began bool) error {
	path, err := r.replace(ctx, r.last, r.encode(offline))
	if err != nil {
		return err
	}
	if !began && r.told != nil && maps.Equal(now, r.told) {
		r.wait = min(2*r.wait, maxRepeat)
	} else {
		r.wait = repeat
		r.o.Logger.Info("told the controller which replicas are offline", "replicas", len(offline))
	}
	r.last, r.told, r.epoch, r.at = path, now, im.ControllerEpoch, time.Now()
	return nil
}

// inImage are the replicas of a broker that the image says are offline.
func inImage(im *cluster.Image, id kafka.BrokerID) set {
	out := set{}
	for t := range im.Topics() {
		for i, p := range t.Partitions {
			if p != nil && slices.Contains(p.Offline, id) {
				out[Replica{t.ID, int32(i)}] = true
			}
		}
	}
	return out
}
