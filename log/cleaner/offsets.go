package cleaner

import "hash/maphash"

// slotBytes is the memory of one key: two hashes and an offset.
const slotBytes = 24

// minSlots is what a Map begins with; it doubles when three quarters are in use.
const minSlots = 1 << 10

// Map maps keys to the largest offset put. It keeps 128 bits of hash for each key
// instead of the key, from two independent seeds that are new in each process:
// two keys that are taken for one are as unlikely as a memory error that nobody
// notices. (Kafka's SkimpyOffsetMap keeps an MD5, as large and slower to make.)
type Map struct {
	seeds      [2]maphash.Seed
	slots      []slot
	mask       uint64
	used       int
	maxSlots   int
	loadFactor float64
	latest     int64
}

// slot is free if next is 0.
type slot struct {
	a, b uint64
	next int64 // the offset, plus 1
}

// NewMap makes a map that grows to maxBytes at most and is full when loadFactor
// (0 to 1, not included) of that is in use.
func NewMap(maxBytes int64, loadFactor float64) *Map {
	maxSlots := minSlots
	for int64(maxSlots)*2*slotBytes <= maxBytes {
		maxSlots *= 2
	}
	if loadFactor <= 0 || loadFactor > 0.95 {
		loadFactor = 0.9
	}
	m := &Map{seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}, maxSlots: maxSlots, loadFactor: loadFactor}
	m.Reset()
	return m
}

// Reset forgets all.
func (m *Map) Reset() {
	m.slots, m.mask, m.used, m.latest = make([]slot, minSlots), minSlots-1, 0, -1
}

// Put notes that key has a record at offset; false if there is no room for a new
// key.
func (m *Map) Put(key []byte, offset int64) bool {
	if (m.used+1)*4 > len(m.slots)*3 && len(m.slots) < m.maxSlots {
		m.grow()
	}
	a, b := m.hash(key)
	s := m.find(a, b)
	if s.next == 0 {
		if float64(m.used+1) > float64(len(m.slots))*m.loadFactor {
			return false
		}
		*s = slot{a, b, offset + 1}
		m.used++
	} else if offset >= s.next {
		s.next = offset + 1
	}
	m.latest = max(m.latest, offset)
	return true
}

// Get is the largest offset of key, -1 if it was not put.
func (m *Map) Get(key []byte) int64 {
	a, b := m.hash(key)
	return m.find(a, b).next - 1
}

// Len counts the keys.
func (m *Map) Len() int { return m.used }

// Bytes is the memory in use.
func (m *Map) Bytes() int64 { return int64(len(m.slots)) * slotBytes }

// Latest is the largest offset that was put or passed; -1 if none.
func (m *Map) Latest() int64 { return m.latest }

// Passed notes that all up to offset was looked at.
func (m *Map) Passed(offset int64) { m.latest = max(m.latest, offset) }

func (m *Map) hash(key []byte) (a, b uint64) {
	return maphash.Bytes(m.seeds[0], key), maphash.Bytes(m.seeds[1], key)
}

// find is the slot of a key, or the free one where it belongs.
func (m *Map) find(a, b uint64) *slot {
	for i := a & m.mask; ; i = (i + 1) & m.mask {
		if s := &m.slots[i]; s.next == 0 || s.a == a && s.b == b {
			return s
		}
	}
}

func (m *Map) grow() {
	old := m.slots
	m.slots = make([]slot, 2*len(old))
	m.mask = uint64(len(m.slots) - 1)
	for _, s := range old {
		if s.next != 0 {
			*m.find(s.a, s.b) = s
		}
	}
}
