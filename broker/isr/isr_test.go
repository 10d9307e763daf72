package isr

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/broker/replica"
	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/protocol"
)

var topicID = kafka.TopicID{15: 7}

// bench is a Proposer of broker 1 between fakes that note what they are asked.
type bench struct {
	t *testing.T
	p *Proposer

	mu      sync.Mutex // guards following
	im      *cluster.Image
	active  bool
	epoch   kafka.BrokerEpoch // 0: not registered
	asked   []string
	refused []string
	// answer is what the controller says of a request, local or remote.
	answer func(changes []cluster.ISRChange) ([]cluster.ISRResult, error)
}

// inBubble runs f on a bench whose Proposer runs.
func inBubble(t *testing.T, f func(*bench)) {
	synctest.Test(t, func(t *testing.T) {
		b := &bench{t: t, epoch: 11, im: image(2, 5, 8)}
		b.p = New(Options{Self: 1, Local: b, Remote: b, Image: b.image, Epoch: b.registration, Refused: b.refuse})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := b.p.Run(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("Run ended with %v", err)
			}
		})
		f(b)
		cancel()
		wg.Wait()
	})
}

// image has brokers 1 and 2, one of them the controller, and the partitions t-0
// to t-9, led by 1 in the given epochs.
func image(controller kafka.BrokerID, epoch kafka.LeaderEpoch, version int32) *cluster.Image {
	e := cluster.NewEdit(cluster.Empty())
	for id := kafka.BrokerID(1); id <= 2; id++ {
		e.ReadBroker(&cluster.Broker{ID: id, Epoch: 10 + kafka.BrokerEpoch(id), Zxid: 10 + int64(id)})
	}
	assign := map[int32]cluster.Assignment{}
	for p := range int32(10) {
		assign[p] = cluster.Assignment{Replicas: []kafka.BrokerID{1, 2}}
	}
	e.ReadTopic(cluster.TopicRead{Name: "t", ID: topicID, Assignment: assign, Zxid: 20})
	for p := range int32(10) {
		e.ReadState(kafka.TopicPartition{Topic: "t", Partition: p},
			cluster.EntryState{Partition: p, Leader: 1, LeaderEpoch: epoch, ISR: []kafka.BrokerID{1}, ZnodeVersion: version}, 30, 30)
	}
	im, _ := e.Publish()
	im, _ = im.Apply(im.Next, &cluster.Entry{Controller: controller, Epoch: 1, Begins: true}, 40)
	return im
}

func (b *bench) image() *cluster.Image {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.im
}

func (b *bench) registration() (kafka.BrokerEpoch, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.epoch, b.epoch != 0
}

func (b *bench) refuse(ask *replica.Proposal) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refused = append(b.refused, ask.TP.String())
}

func (b *bench) Active() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.active
}

func (b *bench) AlterPartition(ctx context.Context, leader kafka.BrokerID, epoch kafka.BrokerEpoch, changes []cluster.ISRChange) ([]cluster.ISRResult, error) {
	return b.control(ctx, "here", leader, epoch, changes)
}

// Request decodes what goes over the wire and encodes what comes back.
func (b *bench) Request(ctx context.Context, to kafka.BrokerID, req kmsg.Request) (kmsg.Response, error) {
	in := kmsg.NewPtrAlterPartitionRequest()
	in.SetVersion(req.GetVersion())
	if err := in.ReadFrom(req.AppendTo(nil)); err != nil {
		b.t.Error(err)
	}
	var changes []cluster.ISRChange
	for _, t := range in.Topics {
		for _, p := range t.Partitions {
			ch := cluster.ISRChange{TopicID: t.TopicID, TP: kafka.TopicPartition{Topic: "t", Partition: p.Partition},
				LeaderEpoch: kafka.LeaderEpoch(p.LeaderEpoch), PartitionEpoch: kafka.PartitionEpoch(p.PartitionEpoch)}
			for _, m := range p.NewEpochISR {
				ch.ISR = append(ch.ISR, cluster.ISRMember{ID: kafka.BrokerID(m.BrokerID), Epoch: kafka.BrokerEpoch(m.BrokerEpoch)})
			}
			changes = append(changes, ch)
		}
	}
	results, err := b.control(ctx, fmt.Sprintf("broker %d", to), kafka.BrokerID(in.BrokerID), kafka.BrokerEpoch(in.BrokerEpoch), changes)
	resp := kmsg.NewPtrAlterPartitionResponse()
	resp.SetVersion(in.GetVersion())
	var code protocol.Error
	switch {
	case errors.As(err, &code):
		resp.ErrorCode = code.Code()
		return resp, nil
	case err != nil:
		return nil, err
	}
	t := kmsg.NewAlterPartitionResponseTopic()
	t.TopidID = topicID
	for i, r := range results {
		p := kmsg.NewAlterPartitionResponseTopicPartition()
		p.Partition, p.ErrorCode, p.PartitionEpoch = changes[i].TP.Partition, protocol.CodeOf(r.Err).Code(), int32(r.PartitionEpoch)
		t.Partitions = append(t.Partitions, p)
	}
	resp.Topics = append(resp.Topics, t)
	return resp, nil
}

func (b *bench) control(ctx context.Context, who string, leader kafka.BrokerID, epoch kafka.BrokerEpoch, changes []cluster.ISRChange) ([]cluster.ISRResult, error) {
	b.mu.Lock()
	text := fmt.Sprintf("%s from %d@%d:", who, leader, epoch)
	for _, ch := range changes {
		text += fmt.Sprintf(" %s %d/%d %v", ch.TP, ch.LeaderEpoch, ch.PartitionEpoch, ch.ISR)
	}
	b.asked = append(b.asked, text)
	answer := b.answer
	b.mu.Unlock()
	if answer == nil {
		return make([]cluster.ISRResult, len(changes)), nil
	}
	results, err := answer(changes)
	if errors.Is(err, context.DeadlineExceeded) {
		<-ctx.Done()
	}
	return results, err
}

// set changes what the fakes know.
func (b *bench) set(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

// saw fails unless these were the requests since the last look.
func (b *bench) saw(want ...string) {
	b.t.Helper()
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Equal(b.asked, want) {
		b.t.Errorf("asked\n%s\nwant\n%s", strings.Join(b.asked, "\n"), strings.Join(want, "\n"))
	}
	b.asked = nil
}

// left fails unless so many wait and these were refused.
func (b *bench) left(waiting int, refused ...string) {
	b.t.Helper()
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := b.p.Waiting(); n != waiting || !slices.Equal(b.refused, refused) {
		b.t.Errorf("%d wait, refused %v; want %d, %v", n, b.refused, waiting, refused)
	}
}

func proposal(partition int32) *replica.Proposal {
	return &replica.Proposal{TP: kafka.TopicPartition{Topic: "t", Partition: partition}, TopicID: topicID, LeaderEpoch: 5, PartitionEpoch: 8,
		ISR: []replica.Member{{ID: 1, Epoch: 11}, {ID: 2, Epoch: 12}}}
}

// answers says the same of every partition.
func answers(err error) func(changes []cluster.ISRChange) ([]cluster.ISRResult, error) {
	return func(changes []cluster.ISRChange) ([]cluster.ISRResult, error) {
		out := make([]cluster.ISRResult, len(changes))
		for i := range out {
			out[i].Err = err
		}
		return out, nil
	}
}

func fails(err error) func(changes []cluster.ISRChange) ([]cluster.ISRResult, error) {
	return func([]cluster.ISRChange) ([]cluster.ISRResult, error) { return nil, err }
}

const (
	t0 = " t-0 5/8 [{1 11} {2 12}]"
	t1 = " t-1 5/8 [{1 11} {2 12}]"
	t2 = " t-2 5/8 [{1 11} {2 12}]"
)

func TestOneRequestAtATime(t *testing.T) {
	inBubble(t, func(b *bench) {
		hold := make(chan struct{})
		b.set(func() {
			b.answer = func(changes []cluster.ISRChange) ([]cluster.ISRResult, error) {
				<-hold
				return make([]cluster.ISRResult, len(changes)), nil
			}
		})
		b.p.Propose(proposal(0))
		b.saw("broker 2 from 1@11:" + t0)
		b.p.Propose(proposal(2)) // while the first is under way
		b.p.Propose(proposal(1))
		b.saw()
		close(hold)
		b.saw("broker 2 from 1@11:" + t1 + t2)
		b.left(0)
	})
}

func TestTheControllerOfThisBrokerIsCalled(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.set(func() { b.active = true })
		b.p.Propose(proposal(0))
		b.saw("here from 1@11:" + t0)
		b.left(0)
	})
}

// TestUnknownOutcomesAreAskedAgain: a lost answer is never a refusal.
func TestUnknownOutcomesAreAskedAgain(t *testing.T) {
	for _, err := range []error{errors.New("connection lost"), protocol.NotController, protocol.StaleBrokerEpoch, context.DeadlineExceeded} {
		inBubble(t, func(b *bench) {
			b.set(func() { b.answer = fails(err) })
			b.p.Propose(proposal(0))
			b.saw("broker 2 from 1@11:" + t0)
			if err == context.DeadlineExceeded {
				time.Sleep(answerWithin)
			}
			time.Sleep(retryAfter - time.Millisecond)
			b.saw()
			b.set(func() { b.answer = nil })
			time.Sleep(time.Millisecond)
			b.saw("broker 2 from 1@11:" + t0)
			b.left(0)
		})
	}
}

func TestAnswersOfOnePartition(t *testing.T) {
	for _, c := range []struct {
		err     error
		waiting int
		refused []string
	}{
		{nil, 0, nil},
		{protocol.IneligibleReplica, 0, []string{"t-0"}},
		{protocol.OperationNotAttempted, 0, []string{"t-0"}},
		{protocol.InvalidUpdateVersion, 0, nil},
		{protocol.FencedLeaderEpoch, 0, nil},
		{protocol.UnknownTopicID, 0, nil},
		{protocol.InvalidRequest, 0, nil},
		{protocol.NotController, 1, nil},
		{protocol.UnknownServerError, 1, nil},
	} {
		inBubble(t, func(b *bench) {
			b.set(func() { b.answer = answers(c.err) })
			b.p.Propose(proposal(0))
			b.left(c.waiting, c.refused...)
			if n := b.p.failed.Load(); (n > 0) != (c.err != nil) || c.waiting == 0 && n > 1 {
				t.Errorf("%v: counted as failed %d times", c.err, n)
			}
		})
	}
}

// TestOvertakenByTheImage: nobody is asked about a state that is no more, and the
// leader, which moves to the newer one, is told nothing.
func TestOvertakenByTheImage(t *testing.T) {
	for name, im := range map[string]*cluster.Image{
		"leader epoch": image(2, 6, 9), "partition epoch": image(2, 5, 9), "topic": cluster.Empty(),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(b *bench) {
				b.set(func() { b.answer = fails(protocol.NotController) })
				b.p.Propose(proposal(0))
				b.saw("broker 2 from 1@11:" + t0)
				b.set(func() { b.im = im })
				time.Sleep(10 * retryAfter)
				b.saw()
				b.left(0)
			})
		})
	}
}

func TestWaitsForRegistrationAndController(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.set(func() { b.epoch, b.im = 0, image(kafka.NoBroker, 5, 8) })
		b.p.Propose(proposal(0))
		time.Sleep(2 * retryAfter)
		b.set(func() { b.epoch = 15 })
		time.Sleep(2 * retryAfter)
		b.saw()
		b.set(func() { b.im = image(2, 5, 8) })
		time.Sleep(retryAfter)
		b.saw("broker 2 from 1@15:" + t0)
		b.left(0)
	})
}

// TestANewerProposalStays: the answer to the older one does not settle it.
func TestANewerProposalStays(t *testing.T) {
	inBubble(t, func(b *bench) {
		hold := make(chan struct{})
		b.set(func() {
			b.answer = func([]cluster.ISRChange) ([]cluster.ISRResult, error) {
				<-hold
				return []cluster.ISRResult{{Err: protocol.IneligibleReplica}}, nil
			}
		})
		b.p.Propose(proposal(0))
		b.saw("broker 2 from 1@11:" + t0)
		newer := proposal(0)
		newer.LeaderEpoch, newer.PartitionEpoch = 6, 9
		b.p.Propose(newer)
		b.set(func() { b.answer, b.im = nil, image(2, 6, 9) })
		close(hold)
		b.saw("broker 2 from 1@11: t-0 6/9 [{1 11} {2 12}]")
		b.left(0)
	})
}

// TestWhatIsNotAnsweredIsAskedAgain: a controller that leaves a partition out.
func TestWhatIsNotAnsweredIsAskedAgain(t *testing.T) {
	resp := kmsg.NewPtrAlterPartitionResponse()
	got, err := results(resp, []*replica.Proposal{proposal(0)})
	if err != nil || verdict(got[0].Err) != again {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := results(kmsg.NewPtrMetadataResponse(), nil); err == nil {
		t.Error("an answer of another kind was taken")
	}
}
