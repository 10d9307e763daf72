// Package isr takes this broker's proposals for other ISRs to the controller:
// by a call where this broker is it, else by AlterPartition requests.
//
// Proposals wait in a set with at most one for each partition. Run takes all
// that wait into one request at a time and asks until the controller has
// answered each, at most every 50 ms. A proposal ends in one of three ways:
//
//   - the controller took it, or knows a newer state: the state arrives by the
//     change log, and until then the leader counts the members of both ISRs;
//   - the image has a newer state: as above, and nobody is asked any more;
//   - the controller refused it for a member that may not enter: Refused.
//
// An unknown outcome (a lost connection, a time-out) is asked about again and is
// never taken for a refusal: the controller may have let a follower in, and a
// leader that did not wait for it then could lose what it acknowledged.
package isr

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/broker/replica"
	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/internal/metrics"
	"barnabas/protocol"
)

const (
	// retryAfter is Kafka's pause of a leader after an answer that did not
	// settle its question.
	retryAfter = 50 * time.Millisecond
	// answerWithin bounds one request; asking again is harmless.
	answerWithin = 5 * time.Second
	// maxRequest bounds the partitions of one request.
	maxRequest = 1000
	// maxWaiting bounds the partitions that wait.
	maxWaiting = 1 << 18
)

// Local is the controller of this broker, elected or not.
type Local interface {
	Active() bool
	AlterPartition(ctx context.Context, leader kafka.BrokerID, epoch kafka.BrokerEpoch, changes []cluster.ISRChange) ([]cluster.ISRResult, error)
}

// Requester asks other brokers; net/peer is it.
type Requester interface {
	Request(ctx context.Context, broker kafka.BrokerID, req kmsg.Request) (kmsg.Response, error)
}

// Options of a Proposer; all but Logger are required.
type Options struct {
	// Self is this broker.
	Self kafka.BrokerID
	// Image is the newest image of the cluster.
	Image  func() *cluster.Image
	Local  Local
	Remote Requester
	// Epoch is this broker's present registration; ok is false while it has none.
	Epoch func() (e kafka.BrokerEpoch, ok bool)
	// Refused is told, outside any lock, of proposals that the controller did not
	// take and will not: the ISR stays as it is.
	Refused func(*replica.Proposal)
	Logger  *slog.Logger // default: nothing is logged
}

// Proposer holds this broker's proposals. It is safe for concurrent use.
type Proposer struct {
	o    Options
	wake chan struct{}

	mu      sync.Mutex // guards following
	waiting map[kafka.TopicPartition]waiter

	failed atomic.Int64 // answers that did not take a proposal

	trouble string // Run's: what the log has of the present trouble
}

// waiter is a proposal that is not settled.
type waiter struct {
	ask   *replica.Proposal
	since time.Time
}

// New makes a Proposer that asks nobody before Run.
func New(o Options) *Proposer {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Proposer{o: o, wake: make(chan struct{}, 1), waiting: map[kafka.TopicPartition]waiter{}}
}

// Propose takes a proposal, in place of an older one for its partition. It never
// waits.
func (p *Proposer) Propose(ask *replica.Proposal) {
	p.mu.Lock()
	full := len(p.waiting) >= maxWaiting && p.waiting[ask.TP].ask == nil
	if !full {
		p.waiting[ask.TP] = waiter{ask, time.Now()}
	}
	p.mu.Unlock()
	if full {
		p.o.Refused(ask) // it was never sent
		return
	}
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Waiting is the number of partitions whose proposals are not answered yet.
func (p *Proposer) Waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.waiting)
}

// Collect writes how many proposals wait, and for how long.
func (p *Proposer) Collect(page *metrics.Page) {
	p.mu.Lock()
	n, oldest := len(p.waiting), time.Duration(0)
	for _, w := range p.waiting {
		oldest = max(oldest, time.Since(w.since))
	}
	p.mu.Unlock()
	page.Gauge("barnabas_isr_proposals", "ISR changes that this broker asked the controller for and that are not answered.", int64(n))
	page.Meter("kafka_server_replicamanager_failedisrupdates", "Answers of the controller by which an ISR change was not made.", func() { page.Int(p.failed.Load()) })
	page.Gauge("barnabas_isr_oldest_proposal_ms", "How long the oldest of them waits.", oldest.Milliseconds())
}

// Run asks the controller until ctx ends.
func (p *Proposer) Run(ctx context.Context) error {
	pause := time.NewTimer(retryAfter)
	defer pause.Stop()
	for {
		batch := p.take()
		if len(batch) == 0 {
			select {
			case <-p.wake:
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if p.ask(ctx, batch) {
			continue
		}
		pause.Reset(retryAfter)
		select {
		case <-pause.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// take returns what to ask about next, and forgets what the image has overtaken.
func (p *Proposer) take() []*replica.Proposal {
	im := p.o.Image()
	p.mu.Lock()
	defer p.mu.Unlock()
	var batch []*replica.Proposal
	for tp, w := range p.waiting {
		if !p.current(im, w.ask) {
			delete(p.waiting, tp)
		}
	}
	for _, w := range p.waiting { // in any order: those that stay unsettled do not hold up the others
		if batch = append(batch, w.ask); len(batch) == maxRequest {
			break
		}
	}
	slices.SortFunc(batch, func(a, b *replica.Proposal) int { return compare(a.TP, b.TP) })
	return batch
}

// current reports whether the image still has the state that a proposal is made
// to. If not, the partition moves to the newer one, or goes, and forgets it.
func (p *Proposer) current(im *cluster.Image, ask *replica.Proposal) bool {
	t := im.TopicByID(ask.TopicID)
	if t == nil {
		return false
	}
	s := t.Partition(ask.TP.Partition)
	return s != nil && s.HasState && s.Leader == p.o.Self && s.LeaderEpoch <= ask.LeaderEpoch && s.PartitionEpoch <= ask.PartitionEpoch
}

func compare(a, b kafka.TopicPartition) int {
	switch {
	case a.Topic < b.Topic:
		return -1
	case a.Topic > b.Topic:
		return 1
	}
	return int(a.Partition) - int(b.Partition)
}

// ask asks about a batch once, and reports whether all of it is settled.
func (p *Proposer) ask(ctx context.Context, batch []*replica.Proposal) bool {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	results, err := p.alter(ctx, batch)
	if err != nil {
		p.complain(err)
		return false
	}
	p.complain(nil)
	settled := true
	for i, ask := range batch {
		if results[i].Err != nil {
			p.failed.Add(1)
		}
		switch verdict(results[i].Err) {
		case again:
			settled = false
		case refused:
			if p.settle(ask) {
				p.o.Logger.Info("the controller refused another ISR", "partition", ask.TP.String(), "leader_epoch", int32(ask.LeaderEpoch),
					"reason", ask.Reason, "error", results[i].Err)
				p.o.Refused(ask)
			}
		default:
			p.settle(ask)
		}
	}
	return settled
}

// settle forgets a proposal, unless a newer one has taken its place.
func (p *Proposer) settle(ask *replica.Proposal) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting[ask.TP].ask != ask {
		return false
	}
	delete(p.waiting, ask.TP)
	return true
}

// complain logs trouble when it begins, changes and ends.
func (p *Proposer) complain(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text == p.trouble {
		return
	}
	if p.trouble = text; err != nil {
		p.o.Logger.Warn("ISR changes wait for the controller", "error", err)
	} else {
		p.o.Logger.Info("ISR changes are answered again")
	}
}

// What an answer about one partition means for the proposal.
type outcome int8

const (
	done    outcome = iota // taken, or a newer state is on its way
	refused                // not taken, and never will be
	again                  // not settled
)

// verdict is what Kafka's leaders make of an answer.
func verdict(err error) outcome {
	if err == nil {
		return done
	}
	switch protocol.CodeOf(err) {
	case protocol.UnknownTopicOrPartition, protocol.UnknownTopicID, protocol.FencedLeaderEpoch, protocol.InvalidUpdateVersion,
		protocol.InvalidRequest, protocol.NewLeaderElected:
		return done
	case protocol.OperationNotAttempted, protocol.IneligibleReplica:
		return refused
	}
	return again
}

var (
	errNotRegistered = errors.New("isr: this broker is not registered")
	errNoController  = errors.New("isr: no controller is known")
)

// alter takes a batch to the present controller; there is one result for each.
func (p *Proposer) alter(ctx context.Context, batch []*replica.Proposal) ([]cluster.ISRResult, error) {
	epoch, ok := p.o.Epoch()
	if !ok {
		return nil, errNotRegistered
	}
	if p.o.Local.Active() {
		return p.o.Local.AlterPartition(ctx, p.o.Self, epoch, changes(batch))
	}
	controller := p.o.Image().LiveController()
	if controller == kafka.NoBroker || controller == p.o.Self {
		return nil, errNoController
	}
	resp, err := p.o.Remote.Request(ctx, controller, request(p.o.Self, epoch, batch))
	if err != nil {
		return nil, err
	}
	return results(resp, batch)
}

// changes are proposals as the controller takes them.
func changes(batch []*replica.Proposal) []cluster.ISRChange {
	out := make([]cluster.ISRChange, len(batch))
	for i, ask := range batch {
		out[i] = cluster.ISRChange{TopicID: ask.TopicID, TP: ask.TP, LeaderEpoch: ask.LeaderEpoch, PartitionEpoch: ask.PartitionEpoch}
		for _, m := range ask.ISR {
			out[i].ISR = append(out[i].ISR, cluster.ISRMember(m))
		}
	}
	return out
}
