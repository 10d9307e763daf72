package devzk

import (
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
)

// A transaction collects the steps of one write request: each is applied to the
// tree at once, so that the next sees it, and taken back if a later one fails.
type transaction struct {
	tree    *tree
	zxid    int64
	now     int64 // Unix milliseconds
	session int64
	ids     []acl // what the connection authenticated as
	limit   int64 // of tree.bytes

	changes []change
	undos   []undo
}

// do checks one operation and applies it. Its answer is appended to out.
func (x *transaction) do(r *request, out []byte) ([]byte, code) {
	switch r.op {
	case opCreate, opCreate2, opCreateContainer, opCreateTTL:
		return x.create(r, out)
	case opDelete:
		return out, x.delete(r)
	case opSetData:
		n, c := x.find(r.path, r.version)
		if c != codeOK {
			return out, c
		}
		if x.tree.bytes+int64(len(r.data)-len(n.data)) > x.limit {
			return out, codeQuotaExceeded
		}
		x.apply(change{op: opSetData, path: r.path, data: cloneData(r.data)})
		return n.appendStat(out), codeOK
	case opCheck:
		_, c := x.find(r.path, r.version)
		return out, c
	case opSetACL:
		return x.setACL(r, out)
	}
	return out, codeUnimplemented
}

func (x *transaction) apply(c change) {
	x.undos = append(x.undos, x.tree.apply(&c, x.zxid, x.now))
	x.changes = append(x.changes, c)
}

// rollback takes everything back.
func (x *transaction) rollback() {
	for i := range slices.Backward(x.undos) {
		x.tree.revert(&x.undos[i])
	}
	x.changes, x.undos = nil, nil
}

// find is the znode at a path, at the version asked for; -1 is any.
func (x *transaction) find(path string, version int32) (*node, code) {
	if !validPath(path) {
		return nil, codeBadArguments
	}
	n := x.tree.nodes[path]
	if n == nil {
		return nil, codeNoNode
	}
	if version != -1 && version != n.version {
		return nil, codeBadVersion
	}
	return n, codeOK
}

// create checks in the order of PrepRequestProcessor.pRequest2TxnCreate.
func (x *transaction) create(r *request, out []byte) ([]byte, code) {
	sequential := r.mode == modePersistentSequential || r.mode == modeEphemeralSequential
	switch {
	case r.mode < modePersistent || r.mode > modeTTLSequential:
		return out, codeBadArguments
	case r.mode == modeTTL || r.mode == modeTTLSequential:
		return out, codeUnimplemented // as ZooKeeper without extendedTypesEnabled
	case !strings.Contains(r.path, "/") || strings.Contains(r.path, "\x00"):
		return out, codeBadArguments
	}
	encodedACL, c := fixACL(r.acl, x.ids)
	if c != codeOK {
		return out, c
	}
	parentPath, _ := splitPath(r.path)
	parent := x.tree.nodes[parentPath]
	if parent == nil {
		return out, codeNoNode
	}
	path := r.path
	if sequential {
		path = fmt.Sprintf("%s%010d", path, parent.creates)
	}
	switch {
	case !validPath(path):
		return out, codeBadArguments
	case x.tree.nodes[path] != nil:
		return out, codeNodeExists
	case parent.ephemeral():
		return out, codeNoChildrenForEphemerals
	case x.tree.bytes+int64(len(path)+len(r.data)+nodeOverhead) > x.limit:
		return out, codeQuotaExceeded
	}
	ch := change{op: opCreate, path: path, data: cloneData(r.data), acl: encodedACL}
	if r.mode == modeEphemeral || r.mode == modeEphemeralSequential {
		ch.owner = x.session
	}
	x.apply(ch)
	out = appendString(out, path)
	if r.op != opCreate {
		out = x.tree.nodes[path].appendStat(out)
	}
	return out, codeOK
}

func (x *transaction) delete(r *request) code {
	if !strings.HasPrefix(r.path, "/") || reserved(r.path) {
		return codeBadArguments
	}
	n := x.tree.nodes[r.path]
	switch {
	case n == nil:
		return codeNoNode
	case r.version != -1 && r.version != n.version:
		return codeBadVersion
	case len(n.children) > 0:
		return codeNotEmpty
	}
	x.apply(change{op: opDelete, path: r.path})
	return codeOK
}

func (x *transaction) setACL(r *request, out []byte) ([]byte, code) {
	if !validPath(r.path) {
		return out, codeBadArguments
	}
	encoded, c := fixACL(r.acl, x.ids)
	if c != codeOK {
		return out, c
	}
	n := x.tree.nodes[r.path]
	if n == nil {
		return out, codeNoNode
	}
	if r.version != -1 && r.version != n.aversion {
		return out, codeBadVersion
	}
	x.apply(change{op: opSetACL, path: r.path, acl: encoded})
	return n.appendStat(out), codeOK
}

// multi does all steps or none. Every step has an answer: after a failure those
// before it say OK, it its own code, those after it that they were not tried.
func (x *transaction) multi(ops []request, out []byte) []byte {
	start := len(out)
	for i := range ops {
		op := &ops[i]
		// Within a multi ZooKeeper answers create2 as create, a container as
		// create2.
		switch op.op {
		case opCreate, opCreate2, opCreateContainer, opCreateTTL:
			if op.op = opCreate; op.mode == modeContainer {
				op.op = opCreate2
			}
		}
		out = appendMultiHeader(out, op.op, false, codeOK)
		var c code
		if out, c = x.do(op, out); c != codeOK {
			x.rollback()
			out = appendFailedMulti(out[:start], i, len(ops), c)
			break
		}
	}
	return appendMultiHeader(out, -1, true, -1)
}

func appendFailedMulti(out []byte, failed, n int, c code) []byte {
	for i := range n {
		this := codeOK
		if i == failed {
			this = c
		} else if i > failed {
			this = codeRuntimeInconsistency
		}
		out = appendMultiHeader(out, opError, false, this)
		out = appendInt32(out, int32(this))
	}
	return out
}

// fixACL checks a list as PrepRequestProcessor.fixupACL does and encodes it:
// "auth" stands for what the connection authenticated as.
func fixACL(list, ids []acl) (string, code) {
	if len(list) == 0 {
		return "", codeInvalidACL
	}
	if len(list) == 1 && list[0] == (acl{31, "world", "anyone"}) {
		return worldACL, codeOK
	}
	var fixed []acl
	for _, a := range list {
		add := []acl{a}
		switch a.scheme {
		case "world":
			if a.id != "anyone" {
				return "", codeInvalidACL
			}
		case "auth":
			add = nil
			for _, id := range ids {
				add = append(add, acl{a.perms, id.scheme, id.id})
			}
			if len(add) == 0 {
				return "", codeInvalidACL
			}
		case "digest":
			if strings.Count(a.id, ":") != 1 {
				return "", codeInvalidACL
			}
		case "ip":
		default:
			return "", codeInvalidACL
		}
		for _, a := range add {
			if !slices.Contains(fixed, a) {
				fixed = append(fixed, a)
			}
		}
	}
	return string(appendACL(nil, fixed)), codeOK
}

// digestID is what DigestAuthenticationProvider makes of user:password.
func digestID(credentials []byte) acl {
	user, _, _ := strings.Cut(string(credentials), ":")
	sum := sha1.Sum(credentials)
	return acl{scheme: "digest", id: user + ":" + base64.StdEncoding.EncodeToString(sum[:])}
}
