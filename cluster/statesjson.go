package cluster

import (
	"bytes"
	"encoding/json"
	"strconv"

	"barnabas/internal/kafka"
)

// Nearly all of an entry that moves thousands of partitions are states, and each
// broker decodes each entry. encoding/json takes a microsecond or two for one of
// them, so that they are written and read by hand, ten times as fast. What is
// written is what encoding/json would write, byte by byte. What is read is read by
// hand only if it looks exactly like that; everything else, such as an entry with
// keys of a later version, is left to encoding/json, which decides what is right.

// statesKey begins the states, the last key of an entry.
var statesKey = []byte(`,"states":[`)

// appendStates appends the value of the key states.
func appendStates(b []byte, states []EntryStates) []byte {
	b = append(b, '[')
	for i := range states {
		s := &states[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"topic":`...)
		b = appendText(b, s.Topic)
		b = append(b, `,"id":"`...)
		if !kafka.TopicID(s.ID).IsZero() {
			b = append(b, kafka.TopicID(s.ID).String()...)
		}
		b = append(b, `","partitions":`...)
		if s.Partitions == nil {
			b = append(b, "null}"...)
			continue
		}
		b = append(b, '[')
		for k := range s.Partitions {
			if k > 0 {
				b = append(b, ',')
			}
			b = appendState(b, &s.Partitions[k])
		}
		b = append(b, "]}"...)
	}
	return append(b, ']')
}

func appendState(b []byte, p *EntryState) []byte {
	number := func(key string, n int64) {
		b = append(b, key...)
		b = strconv.AppendInt(b, n, 10)
	}
	number(`{"partition":`, int64(p.Partition))
	number(`,"leader":`, int64(p.Leader))
	number(`,"leader_epoch":`, int64(p.LeaderEpoch))
	b = append(b, `,"isr":`...)
	b = appendIDs(b, p.ISR)
	number(`,"controller_epoch":`, int64(p.ControllerEpoch))
	if p.Recovering {
		b = append(b, `,"recovering":true`...)
	}
	number(`,"znode_version":`, int64(p.ZnodeVersion))
	if len(p.Offline) > 0 {
		b = append(b, `,"offline":`...)
		b = appendIDs(b, p.Offline)
	}
	return append(b, '}')
}

func appendIDs(b []byte, ids []kafka.BrokerID) []byte {
	if ids == nil {
		return append(b, "null"...)
	}
	b = append(b, '[')
	for i, id := range ids {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(id), 10)
	}
	return append(b, ']')
}

// appendText appends a JSON string. Names of topics need no escape.
func appendText(b []byte, s string) []byte {
	if kafka.ValidateTopicName(s) == nil {
		b = append(b, '"')
		b = append(b, s...)
		return append(b, '"')
	}
	text, err := json.Marshal(s)
	if err != nil {
		panic("cluster: a string that can't be encoded: " + err.Error()) // there is none
	}
	return append(b, text...)
}

// encode is the entry in JSON, as encoding/json would write it.
func (e *Entry) encode() ([]byte, error) {
	head := *e
	head.States = nil
	b, err := json.Marshal(&head)
	if err != nil || len(e.States) == 0 {
		return b, err
	}
	n := 0
	for i := range e.States {
		n += 64 + len(e.States[i].Topic) + 128*len(e.States[i].Partitions)
	}
	out := make([]byte, 0, len(b)+n)
	out = append(out, b[:len(b)-1]...)
	out = append(out, statesKey[:len(statesKey)-1]...)
	return append(appendStates(out, e.States), '}'), nil
}

// unmarshal is json.Unmarshal into an empty entry.
func (e *Entry) unmarshal(b []byte) error {
	if head, states, ok := cutStates(b); ok {
		err := json.Unmarshal(head, e)
		if err == nil && e.States == nil { // else the key was there before, too, or in another case
			e.States = states
			return nil
		}
		*e = Entry{}
	}
	return json.Unmarshal(b, e)
}

// cutStates reads the states at the end of an entry. head is what is left: it is a
// JSON object only if the states were a key of the outermost one.
func cutStates(b []byte) (head []byte, states []EntryStates, ok bool) {
	// A quote inside of a string has a backslash before it, not a comma: so this is
	// a key, of some object.
	at := bytes.Index(b, statesKey)
	if at < 0 {
		return nil, nil, false
	}
	p := statesParser{rest: b[at+len(statesKey)-1:]}
	states = p.states()
	if p.failed || string(p.rest) != "}" {
		return nil, nil, false
	}
	return append(bytes.Clone(b[:at]), '}'), states, true
}

// statesParser takes from rest what appendStates has written. Once something is
// not so it has failed, and all else that it returns means nothing.
type statesParser struct {
	rest   []byte
	failed bool
	ids    []kafka.BrokerID // room for lists
	last   int              // partitions of the last topic, the guess at the next one's
}

// literal takes text, which must be next.
func (p *statesParser) literal(text string) {
	if !p.next(text) {
		p.failed = true
	}
}

// next takes text if it is next.
func (p *statesParser) next(text string) bool {
	if len(p.rest) < len(text) || string(p.rest[:len(text)]) != text {
		return false
	}
	p.rest = p.rest[len(text):]
	return true
}

// more reports whether another element of a list follows; first: none was taken.
func (p *statesParser) more(first bool) bool {
	switch {
	case p.failed || p.next("]"):
		return false
	case first || p.next(","):
		return true
	}
	p.failed = true
	return false
}

func (p *statesParser) states() []EntryStates {
	out := []EntryStates{}
	p.literal("[")
	for first := true; p.more(first); first = false {
		var s EntryStates
		p.literal(`{"topic":"`)
		s.Topic = string(p.word())
		p.literal(`,"id":"`)
		if err := s.ID.UnmarshalText(p.word()); err != nil {
			p.failed = true
		}
		p.literal(`,"partitions":`)
		s.Partitions = p.partitions()
		p.literal(`}`)
		out = append(out, s)
	}
	return out
}

// word takes the rest of a string without escapes, and the quote that ends it.
func (p *statesParser) word() []byte {
	for i, c := range p.rest {
		switch {
		case c == '"':
			w := p.rest[:i]
			p.rest = p.rest[i+1:]
			return w
		case c == '\\' || c < ' ' || c >= 0x7f:
			p.failed = true
			return nil
		}
	}
	p.failed = true
	return nil
}

func (p *statesParser) partitions() []EntryState {
	out := make([]EntryState, 0, p.last)
	p.literal("[")
	for first := true; p.more(first); first = false {
		var s EntryState
		p.literal(`{"partition":`)
		s.Partition = p.number()
		p.literal(`,"leader":`)
		s.Leader = kafka.BrokerID(p.number())
		p.literal(`,"leader_epoch":`)
		s.LeaderEpoch = kafka.LeaderEpoch(p.number())
		p.literal(`,"isr":`)
		s.ISR = p.list()
		p.literal(`,"controller_epoch":`)
		s.ControllerEpoch = kafka.ControllerEpoch(p.number())
		s.Recovering = p.next(`,"recovering":true`)
		p.literal(`,"znode_version":`)
		s.ZnodeVersion = p.number()
		if p.next(`,"offline":`) {
			s.Offline = p.list()
		}
		p.literal(`}`)
		out = append(out, s)
	}
	p.last = len(out)
	return out
}

// number takes an int32.
func (p *statesParser) number() int32 {
	i, n, negative := 0, int64(0), false
	if len(p.rest) > 0 && p.rest[0] == '-' {
		i, negative = 1, true
	}
	digits := i
	for ; i < len(p.rest) && i < digits+10 && p.rest[i] >= '0' && p.rest[i] <= '9'; i++ {
		n = 10*n + int64(p.rest[i]-'0')
	}
	if negative {
		n = -n
	}
	zeros := i > digits+1 && p.rest[digits] == '0'
	if i == digits || zeros || n != int64(int32(n)) {
		p.failed = true
		return 0
	}
	p.rest = p.rest[i:] // an eleventh digit is nothing that may follow
	return int32(n)
}

// idsAtOnce is how many ids share an allocation. More would save little, and keep
// alive in an image what belongs to lists that are gone.
const idsAtOnce = 48

// list takes a list of broker ids.
func (p *statesParser) list() []kafka.BrokerID {
	if cap(p.ids)-len(p.ids) < 8 {
		p.ids = make([]kafka.BrokerID, 0, idsAtOnce)
	}
	p.literal("[")
	out := p.ids[len(p.ids):len(p.ids)]
	for first := true; p.more(first); first = false {
		out = append(out, kafka.BrokerID(p.number()))
	}
	if len(out) <= cap(p.ids)-len(p.ids) { // else it has moved to room of its own
		p.ids = p.ids[:len(p.ids)+len(out)]
	}
	return out[:len(out):len(out)]
}
