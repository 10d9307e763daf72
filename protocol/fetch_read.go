package protocol

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrMalformedAnswer is wrapped by the errors of bytes that are no answer.
var ErrMalformedAnswer = errors.New("protocol: malformed answer")

// Fetched is what an answer to Fetch says of one partition.
type Fetched struct {
	TopicID       [16]byte
	Partition     int32
	Err           Error
	HighWatermark int64
	// LogStartOffset is the leader's.
	LogStartOffset int64
	// Records alias the answer. The last batch may be cut short.
	Records []byte
	// Diverged: the reader's history differs; Diverging is where they part.
	Diverged  bool
	Diverging EpochEnd
}

// FetchAnswer reads an answer to Fetch, of a version from 13 on, partition by
// partition and without allocating.
type FetchAnswer struct {
	// Err and Session are the answer's own.
	Err     Error
	Session int32

	r             reader
	topics, parts int // still to come; parts of the topic at hand
	topicID       [16]byte
	parsed        bool
}

const (
	minFetchedTopic     = 16 + 1 + 1
	minFetchedPartition = 4 + 2 + 8 + 8 + 8 + 1 + 4 + 1 + 1
	minAbortedTxn       = 8 + 8 + 1
)

// ReadFetchAnswer begins to read the body of an answer. The error wraps
// ErrMalformedAnswer.
func ReadFetchAnswer(body []byte) (FetchAnswer, error) {
	a := FetchAnswer{r: reader{b: body}}
	a.r.span(4) // throttle time
	a.Err = Error(a.r.int16())
	a.Session = a.r.int32()
	a.topics = a.r.array(true, minFetchedTopic)
	return a, a.failure()
}

// Next reads the next partition into p. After the last it returns false, and an
// error if the answer is not what it should be.
func (a *FetchAnswer) Next(p *Fetched) (bool, error) {
	for a.parts == 0 {
		if a.parsed {
			a.r.tags(nil) // of the topic that ends
			a.parsed = false
		}
		if a.r.bad || a.topics == 0 {
			if !a.r.bad && a.topics == 0 {
				a.topics = -1
				a.nodes()
			}
			return false, a.failure()
		}
		if a.topics < 0 {
			return false, nil
		}
		a.topics--
		copy(a.topicID[:], a.r.span(16))
		a.parts, a.parsed = a.r.array(true, minFetchedPartition), true
	}
	a.parts--
	a.partition(p)
	if a.r.bad {
		a.parts = 0
		return false, a.failure()
	}
	return true, nil
}

func (a *FetchAnswer) partition(p *Fetched) {
	r := &a.r
	*p = Fetched{TopicID: a.topicID, Partition: r.int32(), Err: Error(r.int16())}
	p.HighWatermark = r.int64()
	r.int64() // last stable offset
	p.LogStartOffset = r.int64()
	if n := r.length(true, true); n > len(r.b)/minAbortedTxn {
		r.fail()
	} else {
		for range n {
			r.span(16)
			r.tags(nil)
		}
	}
	r.int32() // preferred replica
	p.Records = r.nullableBytes(true)
	r.tags(func(tag uint32, value []byte) {
		v := reader{b: value}
		switch tag {
		case 0:
			p.Diverging = EpochEnd{Epoch: v.int32(), EndOffset: v.int64()}
			p.Diverged = p.Diverging.Epoch >= 0 && p.Diverging.EndOffset >= 0
		case 1: // the current leader
			v.span(4 + 4)
		case 2: // a snapshot's end
			v.span(8 + 4)
		default:
			return
		}
		if v.tags(nil); v.bad {
			r.fail()
		}
	})
}

// nodes skips the brokers that are named at the end of an answer.
func (a *FetchAnswer) nodes() {
	a.r.tags(func(tag uint32, value []byte) {
		if tag != 0 {
			return
		}
		v := reader{b: value}
		for range v.array(true, 4+1+4+1+1) {
			v.int32()
			v.string(true)
			v.int32()
			v.nullableString(true)
			v.tags(nil)
		}
		if v.bad {
			a.r.fail()
		}
	})
}

func (a *FetchAnswer) failure() error {
	if a.r.bad {
		return fmt.Errorf("%w: a Fetch cut short", ErrMalformedAnswer)
	}
	return nil
}

// SkipTags returns what follows the tagged fields at the front of b.
func SkipTags(b []byte) (rest []byte, ok bool) {
	r := reader{b: b}
	r.tags(nil)
	return r.b, !r.bad
}

func (r *reader) int64() int64 {
	if len(r.b) < 8 {
		r.fail()
		return 0
	}
	v := int64(binary.BigEndian.Uint64(r.b))
	r.b = r.b[8:]
	return v
}
