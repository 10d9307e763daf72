package devzk

import (
	"bytes"
	"errors"
	"hash/crc32"
	"maps"
	"slices"
	"time"
)

// A snapshot file is: magic (8 bytes), zxid, sessions, znodes in the order of
// their paths, all in jute, and the CRC-32C of everything before it.
var snapshotMagic = []byte("bzksnap\x01")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errBadSnapshot = errors.New("devzk: damaged snapshot")

// snapshotLocked encodes the whole state.
func (s *Server) snapshotLocked() []byte {
	b := make([]byte, 0, s.tree.bytes+int64(len(s.sessions)*64)+1024)
	b = append(b, snapshotMagic...)
	b = appendInt64(b, s.zxid)
	b = appendInt32(b, int32(len(s.sessions)))
	for _, ss := range s.sessions {
		b = appendInt64(appendInt64(b, ss.id), int64(ss.timeout))
		b = appendBytes(b, ss.password)
	}
	b = appendInt32(b, int32(len(s.tree.nodes)))
	for _, path := range slices.Sorted(maps.Keys(s.tree.nodes)) {
		n := s.tree.nodes[path]
		b = appendCompactACL(appendBytes(appendString(b, path), n.data), n.acl)
		for _, v := range [...]int64{n.czxid, n.mzxid, n.pzxid, n.ctime, n.mtime, n.owner} {
			b = appendInt64(b, v)
		}
		for _, v := range [...]int32{n.version, n.aversion, n.creates} {
			b = appendInt32(b, v)
		}
	}
	return appendInt32(b, int32(crc32.Checksum(b, castagnoli)))
}

// loadSnapshot replaces the state by what b holds. After an error the state is
// as before.
func (s *Server) loadSnapshot(b []byte) error {
	body, ok := bytes.CutPrefix(b, snapshotMagic)
	if !ok || len(body) < 4 {
		return errBadSnapshot
	}
	sum := decoder{b: b[len(b)-4:]}
	if uint32(sum.int32()) != crc32.Checksum(b[:len(b)-4], castagnoli) {
		return errBadSnapshot
	}
	d := decoder{b: body[:len(body)-4]}
	zxid := d.int64()
	sessions := map[int64]*session{}
	next := s.nextSession
	for range d.count(20) {
		ss := &session{id: d.int64(), timeout: time.Duration(d.int64()), password: cloneData(d.bytes())}
		sessions[ss.id] = ss
		next = max(next, ss.id+1)
	}
	t := &tree{nodes: map[string]*node{}, ephemerals: map[int64]map[string]struct{}{}}
	for range d.count(76) {
		if !t.loadNode(&d) {
			return errBadSnapshot
		}
	}
	if d.bad || len(d.b) > 0 || t.nodes["/"] == nil {
		return errBadSnapshot
	}
	s.zxid, s.sessions, s.nextSession, s.tree = zxid, sessions, next, t
	return nil
}

// loadNode reads one znode; its parent has been read before.
func (t *tree) loadNode(d *decoder) bool {
	path := d.string()
	n := &node{data: cloneData(d.bytes()), acl: d.compactACL()}
	for _, p := range [...]*int64{&n.czxid, &n.mzxid, &n.pzxid, &n.ctime, &n.mtime, &n.owner} {
		*p = d.int64()
	}
	for _, p := range [...]*int32{&n.version, &n.aversion, &n.creates} {
		*p = d.int32()
	}
	if d.bad || !validPath(path) || t.nodes[path] != nil {
		return false
	}
	if path != "/" {
		parentPath, name := splitPath(path)
		parent := t.nodes[parentPath]
		if parent == nil {
			return false
		}
		parent.children = append(parent.children, name)
		// Paths are in order, but "/a!" comes between "/a" and "/a/b": names are
		// in order still, as all of one parent share what is before them.
		if k := len(parent.children); k > 1 && parent.children[k-2] >= name {
			return false
		}
	}
	t.put(path, n)
	return true
}
