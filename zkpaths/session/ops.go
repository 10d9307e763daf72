package session

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"
)

// call describes a request, for errors and for recognizing it when it is sent
// again.
type call struct {
	op, path string
	write    bool
	data     []byte
	version  int32
	ops      []Op // of a multi
}

// send runs f on the session's connection.
func send[T any](c *Client, ctx context.Context, k call, f func(*zk.Conn) (T, error)) (T, error) {
	return sendOn(c, ctx, k, func(s *sess) (T, error) { return f(s.conn) })
}

// sendOn runs f within the bound of requests in flight. A read that lost its
// connection is sent again once.
func sendOn[T any](c *Client, ctx context.Context, k call, f func(*sess) (T, error)) (T, error) {
	type answer struct {
		v   T
		err error
	}
	for try := 1; ; {
		var none T
		s, err := c.acquire(ctx)
		if err != nil {
			return none, &Error{k.op, k.path, err}
		}
		done := make(chan answer, 1)
		go func() { // acquire has added it to the group
			defer c.wg.Done()
			sent := time.Now()
			v, err := f(s)
			if !isLost(err) {
				c.latency.Since(sent)
			}
			<-c.slots
			done <- answer{v, err}
		}()
		var a answer
		select {
		case a = <-done:
		case <-ctx.Done():
			err := ctx.Err()
			if k.write {
				err = fmt.Errorf("%w: %w", ErrConnectionLost, err)
			}
			return none, &Error{k.op, k.path, err}
		}
		switch {
		case a.err == nil:
			if k.write {
				c.losses.forget(k)
			}
			return a.v, nil
		case !isLost(a.err):
			if k.write {
				c.losses.forget(k)
			}
			return a.v, &Error{k.op, k.path, mapError(a.err)}
		case c.ctx.Err() != nil:
			return none, &Error{k.op, k.path, ErrClosed}
		case s.isDead():
			return none, &Error{k.op, k.path, ErrExpired}
		case errors.Is(a.err, zk.ErrNoServer): // never sent
			continue
		case k.write && !c.losses.add(k):
			return none, &Error{k.op, k.path, ErrConnectionLost}
		case k.write || try > 1:
			return none, &Error{k.op, k.path, fmt.Errorf("%w: %w", ErrConnectionLost, ErrPoison)}
		}
		try++
	}
}

// isLost reports whether err says that no answer came.
func isLost(err error) bool {
	var lost *lostError
	return errors.As(err, &lost) || errors.Is(err, zk.ErrConnectionClosed) || errors.Is(err, zk.ErrNoServer) ||
		errors.Is(err, zk.ErrClosing) || errors.Is(err, zk.ErrSessionExpired) || errors.Is(err, zk.ErrSessionMoved)
}

// mapError turns the library's errors into ours.
func mapError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, zk.ErrNoNode):
		return ErrNoNode
	case errors.Is(err, zk.ErrNodeExists):
		return ErrNodeExists
	case errors.Is(err, zk.ErrBadVersion):
		return ErrBadVersion
	case errors.Is(err, zk.ErrNotEmpty):
		return ErrNotEmpty
	case errors.Is(err, zk.ErrNoAuth):
		return ErrNoAuth
	case errors.Is(err, zk.ErrNoChildrenForEphemerals):
		return ErrNoEphChild
	}
	return err
}

// Get reads a znode.
func (c *Client) Get(ctx context.Context, path string) ([]byte, Stat, error) {
	return c.get(ctx, path, false)
}

// GetW reads a znode and watches it for changes and deletion. A znode that is
// not there is not watched: ExistsW does that.
func (c *Client) GetW(ctx context.Context, path string) ([]byte, Stat, error) {
	return c.get(ctx, path, true)
}

type dataStat struct {
	data []byte
	stat *zk.Stat
}

func (c *Client) get(ctx context.Context, path string, watch bool) ([]byte, Stat, error) {
	if err := checkPath(path); err != nil {
		return nil, Stat{}, &Error{"get", path, err}
	}
	r, err := armed(c, ctx, call{op: "get", path: path}, watchKey{path, dataWatch}, watch,
		func(conn *zk.Conn, watch bool) (r dataStat, err error) {
			if watch {
				r.data, r.stat, _, err = conn.GetW(c.abs(path))
			} else {
				r.data, r.stat, err = conn.Get(c.abs(path))
			}
			return r, err
		})
	if err != nil {
		return nil, Stat{}, err
	}
	return r.data, statOf(r.stat), nil
}

// Exists tells whether a znode is there, and its Stat.
func (c *Client) Exists(ctx context.Context, path string) (Stat, bool, error) {
	return c.exists(ctx, path, false)
}

// ExistsW also watches: for creation, or for change and deletion.
func (c *Client) ExistsW(ctx context.Context, path string) (Stat, bool, error) {
	return c.exists(ctx, path, true)
}

type existsStat struct {
	ok   bool
	stat *zk.Stat
}

func (c *Client) exists(ctx context.Context, path string, watch bool) (Stat, bool, error) {
	if err := checkPath(path); err != nil {
		return Stat{}, false, &Error{"exists", path, err}
	}
	r, err := armed(c, ctx, call{op: "exists", path: path}, watchKey{path, dataWatch}, watch,
		func(conn *zk.Conn, watch bool) (r existsStat, err error) {
			if watch {
				r.ok, r.stat, _, err = conn.ExistsW(c.abs(path))
			} else {
				r.ok, r.stat, err = conn.Exists(c.abs(path))
			}
			return r, err
		})
	if err != nil || !r.ok {
		return Stat{}, false, err
	}
	return statOf(r.stat), true, nil
}

// Children lists the names below a znode, in no order, and gives its Stat.
func (c *Client) Children(ctx context.Context, path string) ([]string, Stat, error) {
	return c.children(ctx, path, false)
}

// ChildrenW also watches for children that come and go, and for the deletion of
// the znode itself.
func (c *Client) ChildrenW(ctx context.Context, path string) ([]string, Stat, error) {
	return c.children(ctx, path, true)
}

type namesStat struct {
	names []string
	stat  *zk.Stat
}

func (c *Client) children(ctx context.Context, path string, watch bool) ([]string, Stat, error) {
	if err := checkPath(path); err != nil {
		return nil, Stat{}, &Error{"children", path, err}
	}
	r, err := armed(c, ctx, call{op: "children", path: path}, watchKey{path, childWatch}, watch,
		func(conn *zk.Conn, watch bool) (r namesStat, err error) {
			if watch {
				r.names, r.stat, _, err = conn.ChildrenW(c.abs(path))
			} else {
				r.names, r.stat, err = conn.Children(c.abs(path))
			}
			return r, err
		})
	if err != nil {
		return nil, Stat{}, err
	}
	return r.names, statOf(r.stat), nil
}

// armed sends a read that asks for a watch unless one is armed already.
func armed[T any](c *Client, ctx context.Context, k call, key watchKey, watch bool,
	read func(conn *zk.Conn, watch bool) (T, error)) (T, error) {
	if !watch {
		return send(c, ctx, k, func(conn *zk.Conn) (T, error) { return read(conn, false) })
	}
	return sendOn(c, ctx, k, func(s *sess) (T, error) {
		a, ask := s.w.begin(key)
		if !ask {
			return read(s.conn, false)
		}
		v, err := read(s.conn, true)
		s.w.end(key, a, err == nil)
		return v, err
	})
}

// GetAll reads many znodes, pipelined. fn is called once for each path, one
// call at a time, in no order; err is as from Get.
func (c *Client) GetAll(ctx context.Context, paths []string, fn func(i int, data []byte, st Stat, err error)) {
	c.getAll(ctx, paths, false, fn)
}

// GetAllW is GetAll with GetW.
func (c *Client) GetAllW(ctx context.Context, paths []string, fn func(i int, data []byte, st Stat, err error)) {
	c.getAll(ctx, paths, true, fn)
}

func (c *Client) getAll(ctx context.Context, paths []string, watch bool, fn func(i int, data []byte, st Stat, err error)) {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex // guards next, and fn is called under it
		next int
	)
	take := func() (int, bool) {
		mu.Lock()
		defer mu.Unlock()
		i := next
		next++
		return i, i < len(paths)
	}
	for range min(c.opts.MaxInFlight, len(paths)) {
		wg.Go(func() {
			for i, ok := take(); ok; i, ok = take() {
				data, st, err := c.get(ctx, paths[i], watch)
				mu.Lock()
				fn(i, data, st, err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

// Create makes a znode, open to everybody (world:anyone), and gives its path:
// with its number if it is sequential. nil data is null, not empty.
func (c *Client) Create(ctx context.Context, path string, data []byte, mode Mode) (string, error) {
	if err := checkPath(strings.TrimRight(path, "/") + "0"); err != nil { // "/a/" + number is a good sequential path
		return "", &Error{"create", path, err}
	}
	p, err := c.createAbs(ctx, c.abs(path), data, mode)
	return c.rel(p), err
}

// CreateAll makes a znode and the parents that are missing, with null data.
func (c *Client) CreateAll(ctx context.Context, path string, data []byte, mode Mode) (string, error) {
	if err := checkPath(path); err != nil {
		return "", &Error{"create", path, err}
	}
	p, err := c.createAllAbs(ctx, c.abs(path), data, mode)
	return c.rel(p), err
}

func (c *Client) createAbs(ctx context.Context, path string, data []byte, mode Mode) (string, error) {
	if err := fits(path, data); err != nil {
		return "", &Error{"create", c.rel(path), err}
	}
	return send(c, ctx, call{op: "create", path: c.rel(path), write: true, data: data, version: int32(mode)}, func(conn *zk.Conn) (string, error) {
		return conn.Create(path, data, int32(mode), worldACL())
	})
}

func (c *Client) createAllAbs(ctx context.Context, path string, data []byte, mode Mode) (string, error) {
	p, err := c.createAbs(ctx, path, data, mode)
	if !errors.Is(err, ErrNoNode) {
		return p, err
	}
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		if _, err := c.createAllAbs(ctx, path[:i], nil, Persistent); err != nil && !errors.Is(err, ErrNodeExists) {
			return "", err
		}
	}
	return c.createAbs(ctx, path, data, mode)
}

// Set replaces the data of a znode that has version; -1 matches any.
func (c *Client) Set(ctx context.Context, path string, data []byte, version int32) (Stat, error) {
	if err := errors.Join(checkPath(path), fits(path, data)); err != nil {
		return Stat{}, &Error{"set", path, err}
	}
	st, err := send(c, ctx, call{op: "set", path: path, write: true, data: data, version: version}, func(conn *zk.Conn) (*zk.Stat, error) {
		return conn.Set(c.abs(path), data, version)
	})
	if err != nil {
		return Stat{}, err
	}
	return statOf(st), nil
}

// Delete removes a childless znode that has version; -1 matches any.
func (c *Client) Delete(ctx context.Context, path string, version int32) error {
	if err := checkPath(path); err != nil {
		return &Error{"delete", path, err}
	}
	_, err := send(c, ctx, call{op: "delete", path: path, write: true, version: version}, func(conn *zk.Conn) (struct{}, error) {
		return struct{}{}, conn.Delete(c.abs(path), version)
	})
	return err
}

// Sync makes later reads of this client see everything that was written, by
// anybody, before the call.
func (c *Client) Sync(ctx context.Context) error {
	_, err := send(c, ctx, call{op: "sync", path: "/"}, func(conn *zk.Conn) (string, error) { return conn.Sync("/") })
	return err
}

// fits refuses what ZooKeeper would answer by closing the connection.
func fits(path string, data []byte) error {
	if n := opOverhead + len(path) + len(data); n > MaxOpBytes {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, n, MaxOpBytes)
	}
	return nil
}
