package devzk

import (
	"bytes"
	"slices"
)

// node is one znode.
type node struct {
	data         []byte // nil is null, which clients can tell from empty
	acl          string // the encoded vector
	czxid, mzxid int64
	pzxid        int64
	ctime, mtime int64 // Unix milliseconds
	version      int32
	aversion     int32
	// creates counts the children ever made: the next sequential number, and
	// from it the visible cversion, creates*2 - children.
	creates  int32
	owner    int64    // session of an ephemeral, or 0
	children []string // sorted names
}

func (n *node) ephemeral() bool { return n.owner != 0 }

func (n *node) appendStat(b []byte) []byte {
	for _, v := range [...]int64{n.czxid, n.mzxid, n.ctime, n.mtime} {
		b = appendInt64(b, v)
	}
	for _, v := range [...]int32{n.version, n.creates*2 - int32(len(n.children)), n.aversion} {
		b = appendInt32(b, v)
	}
	b = appendInt64(b, n.owner)
	b = appendInt32(appendInt32(b, int32(len(n.data))), int32(len(n.children)))
	return appendInt64(b, n.pzxid)
}

// tree is the znodes by path. It knows no sessions beyond their ids, no watches
// and no clock; every change is given its zxid and time.
type tree struct {
	nodes      map[string]*node
	ephemerals map[int64]map[string]struct{} // by session
	bytes      int64                         // about what paths and data take
}

// nodeOverhead is about what a znode costs beside its path and data.
const nodeOverhead = 200

// worldACL is the vector of one entry, all permissions for world:anyone.
var worldACL = string(appendACL(nil, []acl{{31, "world", "anyone"}}))

// newTree makes what a fresh ZooKeeper holds.
func newTree() *tree {
	t := &tree{nodes: map[string]*node{}, ephemerals: map[int64]map[string]struct{}{}}
	t.nodes["/"] = &node{acl: worldACL, children: []string{"zookeeper"}, data: []byte{}}
	t.nodes["/zookeeper"] = &node{acl: worldACL, children: []string{"config", "quota"}, data: []byte{}}
	t.nodes["/zookeeper/config"] = &node{acl: string(appendACL(nil, []acl{{1, "world", "anyone"}})), data: []byte{}}
	t.nodes["/zookeeper/quota"] = &node{acl: worldACL, data: []byte{}}
	return t
}

// A change is one step of a transaction, with nothing left to decide: the path
// of a sequential znode is complete. It is what the transaction log holds.
type change struct {
	op   int32 // opCreate, opDelete, opSetData, opSetACL
	path string
	data []byte
	acl  string
	// owner of a created znode.
	owner int64
}

// undo takes one applied change back.
type undo struct {
	op     int32
	path   string
	old    node // before the change, without children; unset for create
	node   *node
	pzxid  int64 // of the parent, before
	create int32 // creates of the parent, before
}

// apply does a change that is known to be possible. data and acl are kept.
func (t *tree) apply(c *change, zxid, now int64) undo {
	switch c.op {
	case opCreate:
		return t.create(c, zxid, now)
	case opDelete:
		return t.delete(c.path, zxid)
	}
	n := t.nodes[c.path]
	u := undo{op: c.op, path: c.path, node: n, old: *n}
	if c.op == opSetACL {
		n.acl = c.acl
		n.aversion++
		return u
	}
	t.bytes += int64(len(c.data) - len(n.data))
	n.data, n.mzxid, n.mtime = c.data, zxid, now
	n.version++
	return u
}

func (t *tree) create(c *change, zxid, now int64) undo {
	n := &node{
		data: c.data, acl: c.acl, owner: c.owner,
		czxid: zxid, mzxid: zxid, pzxid: zxid, ctime: now, mtime: now,
	}
	parentPath, _ := splitPath(c.path)
	parent := t.nodes[parentPath]
	u := undo{op: opCreate, path: c.path, node: n, pzxid: parent.pzxid, create: parent.creates}
	t.link(c.path, n)
	parent.creates++
	parent.pzxid = zxid
	return u
}

func (t *tree) delete(path string, zxid int64) undo {
	n := t.nodes[path]
	parentPath, _ := splitPath(path)
	parent := t.nodes[parentPath]
	u := undo{op: opDelete, path: path, node: n, pzxid: parent.pzxid, create: parent.creates}
	t.unlink(path, n)
	parent.pzxid = zxid
	return u
}

// revert takes the last change that was applied back.
func (t *tree) revert(u *undo) {
	switch u.op {
	case opCreate:
		t.unlink(u.path, u.node)
	case opDelete:
		t.link(u.path, u.node)
	default:
		t.bytes += int64(len(u.old.data) - len(u.node.data))
		u.old.children = u.node.children
		*u.node = u.old
		return
	}
	parentPath, _ := splitPath(u.path)
	parent := t.nodes[parentPath]
	parent.pzxid, parent.creates = u.pzxid, u.create
}

// link hangs a node into the tree, below its parent.
func (t *tree) link(path string, n *node) {
	parentPath, name := splitPath(path)
	parent := t.nodes[parentPath]
	i, _ := slices.BinarySearch(parent.children, name)
	parent.children = slices.Insert(parent.children, i, name)
	t.put(path, n)
}

// put enters a node under its path, without its parent.
func (t *tree) put(path string, n *node) {
	t.nodes[path] = n
	t.bytes += int64(len(path) + len(n.data) + nodeOverhead)
	if n.ephemeral() {
		set := t.ephemerals[n.owner]
		if set == nil {
			set = map[string]struct{}{}
			t.ephemerals[n.owner] = set
		}
		set[path] = struct{}{}
	}
}

func (t *tree) unlink(path string, n *node) {
	parentPath, name := splitPath(path)
	parent := t.nodes[parentPath]
	if i, ok := slices.BinarySearch(parent.children, name); ok {
		parent.children = slices.Delete(parent.children, i, i+1)
	}
	delete(t.nodes, path)
	t.bytes -= int64(len(path) + len(n.data) + nodeOverhead)
	if n.ephemeral() {
		set := t.ephemerals[n.owner]
		delete(set, path)
		if len(set) == 0 {
			delete(t.ephemerals, n.owner)
		}
	}
}

// ephemeralsOf are the paths that end with a session, sorted.
func (t *tree) ephemeralsOf(session int64) []string {
	var paths []string
	for p := range t.ephemerals[session] {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	return paths
}

// cloneData copies what aliases a packet and keeps null apart from empty.
func cloneData(b []byte) []byte { return bytes.Clone(b) }

func appendACL(b []byte, list []acl) []byte {
	b = appendInt32(b, int32(len(list)))
	for _, a := range list {
		b = appendString(appendString(appendInt32(b, a.perms), a.scheme), a.id)
	}
	return b
}
