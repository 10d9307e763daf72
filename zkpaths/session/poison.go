package session

import (
	"encoding/binary"
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// maxLosses bounds the memory of lost requests. Requests in flight are bounded
// too, so more are seldom remembered.
const maxLosses = 1024

// losses remembers which writes lost their connection, so that one that does so
// twice is recognized: sending it for ever would disconnect us for ever.
type losses struct {
	some atomic.Bool // there may be something to forget

	mu   sync.Mutex // guards following
	seed maphash.Seed
	seen map[uint64]struct{}
}

// add reports whether the request has lost its connection before.
func (l *losses) add(k call) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen == nil {
		l.seed, l.seen = maphash.MakeSeed(), make(map[uint64]struct{})
	}
	h := k.hash(l.seed)
	if _, again := l.seen[h]; again {
		delete(l.seen, h)
		return true
	}
	if len(l.seen) >= maxLosses {
		clear(l.seen)
	}
	l.seen[h] = struct{}{}
	l.some.Store(true)
	return false
}

// forget is told of each write that was answered.
func (l *losses) forget(k call) {
	if !l.some.Load() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.seen, k.hash(l.seed))
	l.some.Store(len(l.seen) > 0)
}

func (k *call) hash(seed maphash.Seed) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	put := func(op, path string, version int32, data []byte) {
		var n [12]byte
		binary.LittleEndian.PutUint32(n[:], uint32(version))
		binary.LittleEndian.PutUint32(n[4:], uint32(len(path)))
		binary.LittleEndian.PutUint32(n[8:], uint32(len(data)))
		h.Write(n[:])
		h.WriteString(op)
		h.WriteString(path)
		h.Write(data)
	}
	put(k.op, k.path, k.version, k.data)
	for i := range k.ops {
		o := &k.ops[i]
		put(o.Kind.String(), o.Path, o.Version, o.Data)
	}
	return h.Sum64()
}
