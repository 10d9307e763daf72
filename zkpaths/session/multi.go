package session

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-zookeeper/zk"
)

// ZooKeeper closes the connection on a request above jute.maxbuffer (1 MiB).
const (
	// MaxRequestBytes bounds an encoded request.
	MaxRequestBytes = 1<<20 - 1024
	// MaxOpBytes bounds one operation: path and data.
	MaxOpBytes = 512 << 10
)

// OpKind is the kind of an operation in a transaction.
type OpKind int

const (
	OpCreate OpKind = iota + 1
	OpSet
	OpDelete
	OpCheck
)

func (k OpKind) String() string {
	switch k {
	case OpCreate:
		return "create"
	case OpSet:
		return "set"
	case OpDelete:
		return "delete"
	case OpCheck:
		return "check"
	}
	return fmt.Sprintf("OpKind(%d)", int(k))
}

// Op is one operation of a transaction. Version -1 matches any.
type Op struct {
	Kind    OpKind
	Path    string
	Data    []byte // of create and set; nil is null, not empty
	Version int32  // of set, delete and check
	Mode    Mode   // of create
}

// CreateOp creates a znode.
func CreateOp(path string, data []byte, mode Mode) Op {
	return Op{Kind: OpCreate, Path: path, Data: data, Mode: mode}
}

// SetOp replaces the data of a znode that has version.
func SetOp(path string, data []byte, version int32) Op {
	return Op{Kind: OpSet, Path: path, Data: data, Version: version}
}

// DeleteOp deletes a childless znode that has version.
func DeleteOp(path string, version int32) Op {
	return Op{Kind: OpDelete, Path: path, Version: version}
}

// CheckOp lets the transaction pass only if the znode has version.
func CheckOp(path string, version int32) Op {
	return Op{Kind: OpCheck, Path: path, Version: version}
}

// OpResult is the outcome of one operation: the path of a create (with the
// number of a sequential one, relative to the chroot), the Stat of a set. Its
// Mzxid is the transaction's.
type OpResult struct {
	Path string
	Stat Stat
}

const (
	requestOverhead = 4 + 8     // length, xid and opcode
	opOverhead      = 9 + 4 + 4 // header in a multi, length of the path, version or flags
	aclBytes        = 4 + 4 + 4 + len("world") + 4 + len("anyone")
)

// OpSize is what op adds to an encoded transaction, in bytes. Paths are longer
// by the chroot.
func (c *Client) OpSize(op Op) int {
	n := opOverhead + len(c.chroot) + len(op.Path)
	switch op.Kind {
	case OpCreate:
		n += 4 + len(op.Data) + aclBytes
	case OpSet:
		n += 4 + len(op.Data)
	}
	return n
}

// Size is the encoded size of a transaction of ops, in bytes.
func (c *Client) Size(ops ...Op) int {
	n := requestOverhead + 9
	for i := range ops {
		n += c.OpSize(ops[i])
	}
	return n
}

// Multi does all operations or none. A failed one is a *MultiError.
func (c *Client) Multi(ctx context.Context, ops ...Op) ([]OpResult, error) {
	size := requestOverhead + 9
	reqs := make([]any, len(ops))
	for i, op := range ops {
		if err := checkPath(op.Path); err != nil {
			return nil, &MultiError{Index: i, Op: op, Err: err}
		}
		n := c.OpSize(op)
		if n > MaxOpBytes {
			return nil, &MultiError{Index: i, Op: op, Err: fmt.Errorf("%w: %d bytes, at most %d in one operation", ErrTooLarge, n, MaxOpBytes)}
		}
		size += n
		path := c.abs(op.Path)
		switch op.Kind {
		case OpCreate:
			reqs[i] = &zk.CreateRequest{Path: path, Data: op.Data, Acl: worldACL(), Flags: int32(op.Mode)}
		case OpSet:
			reqs[i] = &zk.SetDataRequest{Path: path, Data: op.Data, Version: op.Version}
		case OpDelete:
			reqs[i] = &zk.DeleteRequest{Path: path, Version: op.Version}
		case OpCheck:
			reqs[i] = &zk.CheckVersionRequest{Path: path, Version: op.Version}
		default:
			return nil, &MultiError{Index: i, Op: op, Err: errors.New("unknown kind")}
		}
	}
	if size > MaxRequestBytes {
		return nil, &Error{"multi", "", fmt.Errorf("%w: %d bytes in %d operations, at most %d", ErrTooLarge, size, len(ops), MaxRequestBytes)}
	}
	res, err := send(c, ctx, call{op: "multi", write: true, ops: ops}, func(conn *zk.Conn) ([]zk.MultiResponse, error) {
		return conn.Multi(reqs...)
	})
	if err != nil {
		return nil, c.multiError(ops, res, err)
	}
	if len(res) != len(ops) {
		return nil, &Error{"multi", "", fmt.Errorf("%d results for %d operations", len(res), len(ops))}
	}
	out := make([]OpResult, len(res))
	for i, r := range res {
		out[i].Stat = statOf(r.Stat)
		if ops[i].Kind == OpCreate {
			out[i].Path = c.rel(r.String)
		}
	}
	return out, nil
}

// multiError finds the operation that failed: those before it are reported as
// good, those after it with a code of their own.
func (c *Client) multiError(ops []Op, res []zk.MultiResponse, err error) error {
	for i, r := range res {
		if r.Error != nil && i < len(ops) {
			return &MultiError{Index: i, Op: ops[i], Err: mapError(r.Error)}
		}
	}
	return err
}

func worldACL() []zk.ACL {
	return []zk.ACL{{Perms: zk.PermAll, Scheme: "world", ID: "anyone"}}
}
