package devzk

import "errors"

// Operation codes of the protocol (org.apache.zookeeper.ZooDefs.OpCode).
const (
	opCreate            = 1
	opDelete            = 2
	opExists            = 3
	opGetData           = 4
	opSetData           = 5
	opGetACL            = 6
	opSetACL            = 7
	opGetChildren       = 8
	opSync              = 9
	opPing              = 11
	opGetChildren2      = 12
	opCheck             = 13
	opMulti             = 14
	opCreate2           = 15
	opReconfig          = 16
	opCheckWatches      = 17
	opRemoveWatches     = 18
	opCreateContainer   = 19
	opCreateTTL         = 21
	opMultiRead         = 22
	opAuth              = 100
	opSetWatches        = 101
	opGetEphemerals     = 103
	opAllChildrenNumber = 104
	opSetWatches2       = 105
	opAddWatch          = 106
	opWhoAmI            = 107
	opCloseSession      = -11
	opError             = -1
)

// code is an error of the protocol (org.apache.zookeeper.KeeperException.Code).
type code int32

const (
	codeOK                      code = 0
	codeRuntimeInconsistency    code = -2
	codeMarshallingError        code = -5
	codeUnimplemented           code = -6
	codeBadArguments            code = -8
	codeNoNode                  code = -101
	codeBadVersion              code = -103
	codeNoChildrenForEphemerals code = -108
	codeNodeExists              code = -110
	codeNotEmpty                code = -111
	codeSessionExpired          code = -112
	codeInvalidACL              code = -114
	codeAuthFailed              code = -115
	codeNoWatcher               code = -121
	codeQuotaExceeded           code = -125
)

// Events sent to watchers (org.apache.zookeeper.Watcher.Event.EventType).
const (
	eventCreated         = 1
	eventDeleted         = 2
	eventDataChanged     = 3
	eventChildrenChanged = 4
)

// Special request ids.
const (
	xidEvent = -1
	xidPing  = -2
)

// Flags of create (org.apache.zookeeper.CreateMode).
const (
	modePersistent           = 0
	modeEphemeral            = 1
	modePersistentSequential = 2
	modeEphemeralSequential  = 3
	modeContainer            = 4 // here a persistent one
	modeTTL                  = 5
	modeTTLSequential        = 6
)

var errMalformed = errors.New("devzk: malformed request")

// connectRequest is the first packet of a connection.
type connectRequest struct {
	lastZxid  int64
	timeoutMs int32
	session   int64
	password  []byte
	// old is set for clients that send, and expect, no read-only flag.
	old bool
}

func decodeConnect(b []byte) (connectRequest, error) {
	d := decoder{b: b}
	d.int32() // protocol version
	r := connectRequest{lastZxid: d.int64(), timeoutMs: d.int32(), session: d.int64(), password: d.bytes()}
	if r.old = len(d.b) == 0; !r.old {
		d.bool()
	}
	if d.bad {
		return connectRequest{}, errMalformed
	}
	return r, nil
}

// request is any request: each operation uses some of the fields. data and auth
// alias the packet.
type request struct {
	xid, op int32
	path    string
	data    []byte
	acl     []acl
	mode    int32 // create's flags, addWatch's mode, removeWatches' type
	version int32
	watch   bool
	ops     []request // of multi

	rearm *rearm // of setWatches
}

// rearm is what a client that reconnects had armed before.
type rearm struct {
	relativeZxid int64       // the last zxid that it saw
	paths        [5][]string // data, exist, child, persistent, recursive
}

type acl struct {
	perms      int32
	scheme, id string
}

// decodeRequest reads a packet after the handshake. With errMalformed, xid and
// op are right if the header was there.
func decodeRequest(b []byte) (request, error) {
	d := decoder{b: b}
	r := request{xid: d.int32(), op: d.int32()}
	if d.bad {
		return r, errMalformed
	}
	if r.op == opMulti || r.op == opMultiRead {
		r.decodeMulti(&d)
	} else {
		r.decodeBody(&d)
	}
	if d.bad {
		return request{xid: r.xid, op: r.op}, errMalformed
	}
	return r, nil
}

func (r *request) decodeMulti(d *decoder) {
	for {
		op, done := d.int32(), d.bool()
		d.int32()
		if d.bad || done {
			return
		}
		switch op {
		case opCreate, opCreate2, opCreateContainer, opCreateTTL, opDelete, opSetData, opCheck:
			d.bad = d.bad || r.op != opMulti
		case opGetData, opGetChildren:
			d.bad = d.bad || r.op != opMultiRead
		default:
			d.bad = true
		}
		sub := request{op: op}
		sub.decodeBody(d)
		if d.bad {
			return
		}
		r.ops = append(r.ops, sub)
	}
}

func (r *request) decodeBody(d *decoder) {
	switch r.op {
	case opCreate, opCreate2, opCreateContainer, opCreateTTL:
		r.path, r.data, r.acl, r.mode = d.string(), d.bytes(), decodeACL(d), d.int32()
		if r.op == opCreateTTL {
			d.int64()
		}
	case opDelete, opCheck:
		r.path, r.version = d.string(), d.int32()
	case opSetData:
		r.path, r.data, r.version = d.string(), d.bytes(), d.int32()
	case opSetACL:
		r.path, r.acl, r.version = d.string(), decodeACL(d), d.int32()
	case opExists, opGetData, opGetChildren, opGetChildren2:
		r.path, r.watch = d.string(), d.bool()
	case opGetACL, opSync, opGetEphemerals, opAllChildrenNumber:
		r.path = d.string()
	case opCheckWatches, opRemoveWatches, opAddWatch:
		r.path, r.mode = d.string(), d.int32()
	case opAuth:
		d.int32()
		r.path, r.data = d.string(), d.bytes() // scheme, credentials
	case opSetWatches, opSetWatches2:
		r.rearm = &rearm{relativeZxid: d.int64()}
		kinds := 3
		if r.op == opSetWatches2 {
			kinds = 5
		}
		for i := range kinds {
			r.rearm.paths[i] = d.strings()
		}
	}
}

func decodeACL(d *decoder) []acl {
	n := d.count(12)
	var list []acl
	for range n {
		list = append(list, acl{d.int32(), d.string(), d.string()})
	}
	return list
}

// appendReplyHeader begins a reply; finishPacket sets its length.
func appendReplyHeader(b []byte, xid int32, zxid int64, c code) []byte {
	return appendInt32(appendInt64(appendInt32(appendInt32(b, 0), xid), zxid), int32(c))
}

// finishPacket sets the length of the packet that begins at start.
func finishPacket(b []byte, start int) []byte {
	n := int32(len(b) - start - 4)
	copy(b[start:start+4], appendInt32(nil, n))
	return b
}

func appendMultiHeader(b []byte, op int32, done bool, c code) []byte {
	return appendInt32(appendBool(appendInt32(b, op), done), int32(c))
}
