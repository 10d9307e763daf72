package cluster

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"barnabas/internal/kafka"
)

// world is what ZooKeeper would hold: znodes with their zxids, and the log.
type world struct {
	rng     *rand.Rand
	zxid    int64
	brokers map[kafka.BrokerID]*Broker
	topics  map[string]*wTopic
	entries []*Entry
	czxids  []int64
}

type wTopic struct {
	id            kafka.TopicID
	assign        map[int32][]kafka.BrokerID
	zxid          int64
	version       int32
	config        map[string]string
	configZxid    int64
	configVersion int32
	states        map[int32]EntryState
	stateZxids    map[int32]int64
	stateBorn     map[int32]int64
}

func newWorld(seed uint64) *world {
	return &world{rng: rand.New(rand.NewPCG(seed, 1)), zxid: 100, brokers: map[kafka.BrokerID]*Broker{}, topics: map[string]*wTopic{}}
}

// step does one transaction of a controller, with its entry.
func (w *world) step() {
	w.zxid += 1 + w.rng.Int64N(3) // registrations and others take zxids too
	e := &Entry{Version: EntryVersion, Controller: 1, Epoch: 1}
	w.entries, w.czxids = append(w.entries, e), append(w.czxids, w.zxid)
	name := string(rune('a' + w.rng.IntN(3)))
	t := w.topics[name]
	switch w.rng.IntN(9) {
	case 8:
		e.AllBrokers = true
		for _, id := range slices.Sorted(maps.Keys(w.brokers)) {
			b := w.brokers[id]
			e.Brokers = append(e.Brokers, EntryBroker{ID: id, Epoch: b.Epoch, State: Up, Rack: b.Rack})
		}
	case 0, 1:
		w.moveBroker(e)
	case 2, 3:
		if t == nil {
			t = w.create(e, name)
		}
		w.writeState(e, name, t)
	case 4:
		if t == nil {
			w.create(e, name)
			break
		}
		delete(w.topics, name)
		e.Topics = []EntryTopic{{Name: name, ID: TopicIDText(t.id), Change: Deleted}}
	case 5:
		if t != nil {
			w.extend(e, name, t)
		}
	case 6:
		if t != nil {
			t.configVersion++
			t.config, t.configZxid = map[string]string{"n": fmt.Sprint(w.zxid)}, w.zxid
			e.Topics = []EntryTopic{{Name: name, ID: TopicIDText(t.id), Change: Changed, Config: &EntryConfig{t.configVersion, t.config}}}
		}
	default:
		if t != nil {
			w.writeState(e, name, t)
		}
	}
}

func (w *world) moveBroker(e *Entry) {
	id := kafka.BrokerID(w.rng.IntN(3))
	if b := w.brokers[id]; b != nil && w.rng.IntN(2) == 0 {
		delete(w.brokers, id)
		e.Brokers = []EntryBroker{{ID: id, Epoch: b.Epoch, State: Down}}
		return
	}
	b := &Broker{ID: id, Epoch: kafka.BrokerEpoch(w.zxid), Rack: fmt.Sprint(w.zxid), Zxid: w.zxid}
	w.brokers[id] = b
	e.Brokers = []EntryBroker{{ID: id, Epoch: b.Epoch, State: Up, Rack: b.Rack}}
}

func (w *world) create(e *Entry, name string) *wTopic {
	t := &wTopic{zxid: w.zxid, configZxid: w.zxid, config: map[string]string{"made": fmt.Sprint(w.zxid)},
		assign: map[int32][]kafka.BrokerID{0: {1}, 1: {2}}, states: map[int32]EntryState{}, stateZxids: map[int32]int64{}, stateBorn: map[int32]int64{}}
	t.id[0], t.id[1], t.id[2] = 1, byte(w.zxid>>8), byte(w.zxid)
	w.topics[name] = t
	e.Topics = []EntryTopic{{Name: name, ID: TopicIDText(t.id), Change: Created, Assigned: true, Partitions: maps.Clone(t.assign),
		Config: &EntryConfig{0, t.config}}}
	return t
}

func (w *world) extend(e *Entry, name string, t *wTopic) {
	p := int32(len(t.assign))
	t.assign[p] = []kafka.BrokerID{kafka.BrokerID(p % 3)}
	t.version++
	t.zxid = w.zxid
	e.Topics = []EntryTopic{{Name: name, ID: TopicIDText(t.id), Change: Changed, Assigned: true, ZnodeVersion: t.version,
		Partitions: map[int32][]kafka.BrokerID{p: t.assign[p]}}}
}

func (w *world) writeState(e *Entry, name string, t *wTopic) {
	p := int32(w.rng.IntN(len(t.assign)))
	s := EntryState{Partition: p, Leader: kafka.BrokerID(w.rng.IntN(3)), ISR: []kafka.BrokerID{1}, ControllerEpoch: 1}
	if old, ok := t.states[p]; ok {
		s.LeaderEpoch, s.ZnodeVersion = old.LeaderEpoch+1, old.ZnodeVersion+1
	} else {
		t.stateBorn[p] = w.zxid
	}
	t.states[p], t.stateZxids[p] = s, w.zxid
	e.States = []EntryStates{{Topic: name, ID: TopicIDText(t.id), Partitions: []EntryState{s}}}
}

// load does a full load while the world goes on: each read sees the world as it
// is then, and between reads there may be transactions, whose entries are
// applied early or late.
func (w *world) load() *Image {
	e := NewEdit(Empty())
	next := len(w.entries)
	e.SetLog(1, int64(next), w.zxid)
	if next > 0 {
		e.ReadController(1, 1)
	}
	early := w.rng.IntN(2) == 0
	between := func() {
		for range w.rng.IntN(3) {
			w.step()
		}
		for early && next < len(w.entries) && w.rng.IntN(2) == 0 {
			e.Apply(int64(next), w.entries[next], w.czxids[next])
			next++
		}
	}
	for _, id := range slices.Sorted(maps.Keys(w.brokers)) {
		between()
		if b := w.brokers[id]; b != nil {
			e.ReadBroker(b)
		}
	}
	names := slices.Sorted(maps.Keys(w.topics))
	between()
	numbers := map[string][]int32{}
	for _, name := range names {
		between()
		if x := w.topics[name]; x != nil {
			r := TopicRead{Name: name, ID: x.id, Zxid: x.zxid, Version: x.version, Assignment: map[int32]Assignment{}}
			for p, replicas := range x.assign {
				r.Assignment[p] = Assignment{Replicas: replicas}
				numbers[name] = append(numbers[name], p)
			}
			w.step() // while the reply is on its way
			e.ReadTopic(r)
		}
	}
	for name, ps := range numbers {
		between()
		if x := w.topics[name]; x != nil {
			e.ReadConfig(name, x.config, x.configZxid, x.configVersion)
		}
		for _, p := range ps {
			between()
			if x := w.topics[name]; x != nil {
				if s, ok := x.states[p]; ok {
					e.ReadState(kafka.TopicPartition{Topic: name, Partition: p}, s, x.stateBorn[p], x.stateZxids[p])
				}
			}
		}
	}
	for ; next < len(w.entries); next++ {
		e.Apply(int64(next), w.entries[next], w.czxids[next])
	}
	im, _ := e.Publish()
	return im
}

// Any order of reads and transactions ends in the image that was read on entry
// by entry from the beginning, with topics deleted and made again meanwhile.
func TestLoadEqualsReadingOn(t *testing.T) {
	for seed := range uint64(3000) {
		w := newWorld(seed)
		for range w.rng.IntN(30) {
			w.step()
		}
		loaded := w.load()
		read := Empty()
		for i, e := range w.entries {
			before := read
			var changes []Change
			read, changes = read.Apply(int64(i), e, w.czxids[i])
			for i := range changes {
				changes[i].Asked = false // no diff can tell
			}
			if d := Diff(before, read); fmt.Sprint(d) != fmt.Sprint(changes) {
				t.Fatalf("seed %d: entry %d told %v, moved %v", seed, i, changes, d)
			}
		}
		if d := Diff(read, loaded); len(d) > 0 {
			t.Fatalf("seed %d: loaded and read on differ in %v\nread   %s\nloaded %s", seed, d, dump(read), dump(loaded))
		}
		if len(w.entries) == 0 {
			continue
		}
		if read.PartitionCount() != loaded.PartitionCount() || read.Next != loaded.Next {
			t.Fatalf("seed %d: %d partitions, next %d; loaded %d, %d", seed, read.PartitionCount(), read.Next, loaded.PartitionCount(), loaded.Next)
		}
		for x := range loaded.Topics() {
			if loaded.TopicByID(x.ID) != x {
				t.Fatalf("seed %d: topic %s is not found by its id", seed, x.Name)
			}
			for i, p := range x.Partitions {
				if q := read.Topic(x.Name).Partition(int32(i)); p != nil && p.Created != q.Created {
					t.Fatalf("seed %d: %s-%d was made at %d; loaded, %d", seed, x.Name, i, q.Created, p.Created)
				}
			}
		}
	}
}

// A read that was asked before a deletion and comes after it revives nothing.
func TestTombstone(t *testing.T) {
	e := NewEdit(Empty())
	e.Apply(0, &Entry{Epoch: 1, Topics: []EntryTopic{{Name: "t", Change: Deleted}}}, 20)
	e.ReadTopic(TopicRead{Name: "t", ID: kafka.TopicID{1}, Zxid: 10, Assignment: map[int32]Assignment{0: {}}})
	if im, _ := e.Publish(); im.Topic("t") != nil || im.PartitionCount() != 0 {
		t.Error("a deleted topic came back by a late read")
	}
}

func dump(im *Image) string {
	var s string
	for _, b := range im.Brokers() {
		s += fmt.Sprintf("broker %+v; ", *b)
	}
	for t := range im.Topics() {
		s += fmt.Sprintf("topic %s %v %v config %v@%d: ", t.Name, t.ID, t.Zxid, t.Config, t.ConfigZxid)
		for i, p := range t.Partitions {
			s += fmt.Sprintf("%d %+v; ", i, *p)
		}
	}
	return s
}

// What was published never changes.
// A broker that registers between the controller's look at the registrations and
// the complete list of them that it writes is down by the list, for those who had
// read it already, and up again by the next entry.
func TestRegisteredWhileTheListWasMade(t *testing.T) {
	e := NewEdit(Empty())
	e.ReadBroker(&Broker{ID: 0, Epoch: 25, Zxid: 25})
	e.ReadBroker(&Broker{ID: 1, Epoch: 29, Zxid: 29})
	im, _ := e.Publish()
	im, _ = im.Apply(1, &Entry{Epoch: 1, AllBrokers: true, Brokers: []EntryBroker{{ID: 0, Epoch: 25, State: Up}}}, 31)
	im, changes := im.Apply(2, &Entry{Epoch: 1, Brokers: []EntryBroker{{ID: 1, Epoch: 29, State: Up}}}, 33)
	if !im.Alive(1) || len(changes) != 1 || changes[0].Kind != BrokerUp {
		t.Errorf("alive: %v, changes %+v", im.Alive(1), changes)
	}
	// Who is declared down by name stays so, whatever is read of that registration.
	im, _ = im.Apply(3, &Entry{Epoch: 1, Brokers: []EntryBroker{{ID: 1, Epoch: 29, State: Down}}}, 35)
	e = NewEdit(im)
	e.ReadBroker(&Broker{ID: 1, Epoch: 29, Zxid: 29})
	if im, _ := e.Publish(); im.Alive(1) {
		t.Error("a dead broker came back by a late read")
	}
}

func TestImagesAreImmutable(t *testing.T) {
	w := newWorld(7)
	im := Empty()
	var texts []string
	var images []*Image
	for i := range 300 {
		w.step()
		im, _ = im.Apply(int64(i), w.entries[i], w.czxids[i])
		images, texts = append(images, im), append(texts, sorted(im))
	}
	for i, im := range images {
		if got := sorted(im); got != texts[i] {
			t.Fatalf("image %d was %s, is %s", i, texts[i], got)
		}
	}
}

func sorted(im *Image) string {
	var s string
	for _, name := range slices.Sorted(maps.Keys(im.topics)) {
		one := Empty()
		one.topics[name] = im.topics[name]
		s += dump(one)
	}
	return s
}

func TestEntryText(t *testing.T) {
	w := newWorld(3)
	for range 200 {
		w.step()
	}
	for i, e := range w.entries {
		e.Token = Token{Broker: 1, Session: -5, Counter: int64(i)}
		got, err := DecodeEntry(e.Encode())
		if err != nil {
			t.Fatal(err)
		}
		if a, b := string(e.Encode()), string(got.Encode()); a != b {
			t.Errorf("%s became %s", a, b)
		}
	}
	for _, bad := range []string{"", "null", "{}", `{"version":1,"token":"x"}`, `{"version":9,"min_reader":9,"token":"1-1-1"}`,
		`{"version":1,"token":"1-1-1","states":[{"topic":"t","id":"","partitions":[{"partition":-1}]}]}`,
		`{"version":1,"token":"1-1-1","topics":[{"name":"../x","id":"","change":"created"}]}`,
		`{"version":1,"token":"1-1-1","topics":[{"name":"x","id":"","change":"created","partitions":{"999999999":[1]}}]}`} {
		if _, err := DecodeEntry([]byte(bad)); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
	if _, err := DecodeEntry([]byte(`{"version":2,"token":"1-1-1","new":{"x":1}}`)); err != nil {
		t.Errorf("a later version that allows this reader: %v", err)
	}
}

// No bytes make decoding or applying fail otherwise than by an error, decoding by
// hand does what encoding/json does, and what is accepted is written back the same.
func FuzzEntry(f *testing.F) {
	w := newWorld(5)
	for range 20 {
		w.step()
		f.Add(w.entries[len(w.entries)-1].Encode())
	}
	f.Add(manyStates(2, 2).Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		sameAsJSON(t, b)
		e, err := DecodeEntry(b)
		if err != nil {
			return
		}
		im, _ := Empty().Apply(0, e, 5)
		im, _ = im.Apply(1, e, 6)
		if _, err := DecodeEntry(e.Encode()); err != nil {
			t.Errorf("not read back: %v", err)
		}
		Diff(Empty(), im)
	})
}
