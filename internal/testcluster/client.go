package testcluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// requestTimeout is how long a client waits for an answer.
const requestTimeout = 12 * time.Second

// client speaks the protocol with one request under way at a time. It is of one
// goroutine. It is small so that what it was told is known exactly: it repeats
// nothing by itself.
type client struct {
	c         *Cluster
	rng       *rand.Rand
	formatter *kmsg.RequestFormatter
	conns     map[string]net.Conn
	// leaders are where the partitions were last said to be led.
	leaders map[kafka.TopicPartition]string
	// epochs are the newest leaderships heard of: what a broker that is behind
	// tells of older ones is not believed, as Kafka's clients do (KIP-320).
	epochs map[leadershipOf]int32
	// ids are the topics' ids, as last heard.
	ids map[string][16]byte
	// rack is where the client is; near are the replicas there that it was told to
	// read from.
	rack string
	near map[kafka.TopicPartition]string
	next int32
}

// leadershipOf is a partition of one topic, by the topic's id.
type leadershipOf struct {
	topicID   [16]byte
	partition int32
}

func (c *Cluster) newClient(name string, seed uint64) *client {
	return &client{
		c: c, rng: rand.New(rand.NewPCG(seed, 7)), formatter: kmsg.NewRequestFormatter(kmsg.FormatterClientID(name)),
		conns: map[string]net.Conn{}, leaders: map[kafka.TopicPartition]string{},
		epochs: map[leadershipOf]int32{}, ids: map[string][16]byte{}, near: map[kafka.TopicPartition]string{},
	}
}

func (k *client) close() {
	for addr := range k.conns {
		k.drop(addr)
	}
}

func (k *client) drop(addr string) {
	if nc := k.conns[addr]; nc != nil {
		_ = nc.Close()
		delete(k.conns, addr)
	}
}

// errNotSent: nobody has heard of the request.
var errNotSent = errors.New("not sent")

// request asks the broker at addr. After an error nobody knows whether the
// request was served.
func (k *client) request(ctx context.Context, addr string, req kmsg.Request) (kmsg.Response, error) {
	answers, err := k.requests(ctx, addr, []kmsg.Request{req})
	if err != nil {
		return nil, err
	}
	return answers[0], nil
}

// requests sends all requests and then reads the answers, those that came before an
// error.
func (k *client) requests(ctx context.Context, addr string, reqs []kmsg.Request) (answers []kmsg.Response, err error) {
	nc := k.conns[addr]
	if nc == nil {
		dialing, cancel := context.WithTimeout(ctx, 2*time.Second)
		nc, err = k.c.clients.Dial(dialing, "tcp", addr)
		cancel()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errNotSent, err)
		}
		k.conns[addr] = nc
	}
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err = nc.SetDeadline(time.Now().Add(requestTimeout)); err == nil {
		var out []byte
		for _, req := range reqs {
			k.next++
			// AppendRequest writes the length of all that it is given to its front.
			out = append(out, k.formatter.AppendRequest(nil, req, k.next)...)
		}
		_, err = nc.Write(out)
	}
	for i := 0; err == nil && i < len(reqs); i++ {
		var resp kmsg.Response
		if resp, err = readAnswer(nc, reqs[i], k.next-int32(len(reqs)-1-i)); err == nil {
			answers = append(answers, resp)
		}
	}
	if err != nil {
		k.drop(addr)
	}
	return answers, err
}

// readAnswer reads the answer to one request.
func readAnswer(nc net.Conn, req kmsg.Request, id int32) (kmsg.Response, error) {
	var head [4]byte
	if _, err := io.ReadFull(nc, head[:]); err != nil {
		return nil, err
	}
	body := make([]byte, binary.BigEndian.Uint32(head[:]))
	if _, err := io.ReadFull(nc, body); err != nil {
		return nil, err
	}
	if len(body) < 4 || int32(binary.BigEndian.Uint32(body)) != id {
		return nil, errors.New("testcluster: an answer to another request")
	}
	body = body[4:]
	if protocol.FlexibleResponseHeader(req.Key(), req.GetVersion()) {
		var ok bool
		if body, ok = protocol.SkipTags(body); !ok {
			return nil, errors.New("testcluster: a malformed header")
		}
	}
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	return resp, resp.ReadFrom(body)
}

// anyone is the address of a random broker.
func (k *client) anyone() string {
	addrs := k.c.addrs()
	return addrs[k.rng.IntN(len(addrs))]
}

// metadata asks a random broker about topics; nil are all.
func (k *client) metadata(ctx context.Context, topics ...string) (*kmsg.MetadataResponse, error) {
	req := kmsg.NewPtrMetadataRequest()
	req.Version = 12
	for _, t := range topics {
		rt := kmsg.NewMetadataRequestTopic()
		rt.Topic = kmsg.StringPtr(t)
		req.Topics = append(req.Topics, rt)
	}
	resp, err := k.request(ctx, k.anyone(), req)
	if err != nil {
		return nil, err
	}
	m := resp.(*kmsg.MetadataResponse)
	addrs := map[int32]string{}
	for _, b := range m.Brokers {
		addrs[b.NodeID] = net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port)))
	}
	for _, t := range m.Topics {
		for _, p := range t.Partitions {
			tp := kafka.TopicPartition{Topic: *t.Topic, Partition: p.Partition}
			delete(k.leaders, tp)
			l := leadershipOf{t.TopicID, p.Partition}
			if p.LeaderEpoch < k.epochs[l] {
				continue
			}
			k.epochs[l], k.ids[tp.Topic] = p.LeaderEpoch, t.TopicID
			if addr := addrs[p.Leader]; addr != "" {
				k.leaders[tp] = addr
			}
		}
	}
	return m, nil
}

// leader is where a partition is led, as far as anybody says.
func (k *client) leader(ctx context.Context, tp kafka.TopicPartition) (string, error) {
	if addr := k.leaders[tp]; addr != "" {
		return addr, nil
	}
	if _, err := k.metadata(ctx, tp.Topic); err != nil {
		return "", err
	}
	if addr := k.leaders[tp]; addr != "" {
		return addr, nil
	}
	return "", fmt.Errorf("testcluster: nobody leads %v", tp)
}

// epoch is the leadership that leader spoke of.
func (k *client) epoch(tp kafka.TopicPartition) int32 {
	if e, ok := k.epochs[leadershipOf{k.ids[tp.Topic], tp.Partition}]; ok {
		return e
	}
	return -1
}

// pause waits a little after something failed, and reports false at ctx's end.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// admin asks the controller, wherever it is, and repeats until somebody who is it
// answers.
func (k *client) admin(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	for {
		m, err := k.metadata(ctx, "none")
		if err == nil && m.ControllerID >= 0 && int(m.ControllerID) < len(k.c.nodes) {
			var resp kmsg.Response
			if resp, err = k.request(ctx, k.c.nodes[m.ControllerID].addr(), req); err == nil {
				return resp, nil
			}
		}
		if !pause(ctx, 200*time.Millisecond) {
			return nil, errors.Join(ctx.Err(), err)
		}
	}
}

// Topic is a topic to be created.
type Topic struct {
	Name        string
	Partitions  int32
	Replication int16
	Configs     map[string]string
	// On are the brokers that have each partition; nil leaves it to the controller.
	On []int32
}

// createTopic makes a topic, or finds it made.
func (k *client) createTopic(ctx context.Context, t Topic) error {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version, req.TimeoutMillis = 5, 10_000
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = t.Name, t.Partitions, t.Replication
	if t.On != nil {
		rt.NumPartitions, rt.ReplicationFactor = -1, -1
		for p := range t.Partitions {
			ra := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
			ra.Partition, ra.Replicas = p, t.On
			rt.ReplicaAssignment = append(rt.ReplicaAssignment, ra)
		}
	}
	for name, value := range t.Configs {
		rc := kmsg.NewCreateTopicsRequestTopicConfig()
		rc.Name, rc.Value = name, kmsg.StringPtr(value)
		rt.Configs = append(rt.Configs, rc)
	}
	req.Topics = append(req.Topics, rt)
	for {
		resp, err := k.admin(ctx, req)
		if err != nil {
			return err
		}
		switch code := protocol.Error(resp.(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode); code {
		case protocol.None, protocol.TopicAlreadyExists:
			return nil
		default:
			if !pause(ctx, time.Second) {
				return fmt.Errorf("testcluster: creating %s: %w", t.Name, code)
			}
		}
	}
}

// deleteTopic asks for a topic's deletion, once.
func (k *client) deleteTopic(ctx context.Context, name string) error {
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.Version, req.TimeoutMillis, req.TopicNames = 5, 5000, []string{name}
	_, err := k.admin(ctx, req)
	return err
}
