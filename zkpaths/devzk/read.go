package devzk

import "strings"

// read answers a request that changes no znode and appends the answer to out.
// Server.mu is held.
func (s *Server) readLocked(c *conn, r *request, out []byte) ([]byte, code) {
	n := s.tree.nodes[r.path]
	switch r.op {
	case opExists:
		if r.watch {
			s.watches.add(r.path, c, watchData)
		}
		if n == nil {
			return out, codeNoNode
		}
		return n.appendStat(out), codeOK
	case opGetData, opGetChildren, opGetChildren2, opGetACL:
		if n == nil {
			return out, codeNoNode
		}
		return s.readNodeLocked(c, r, n, out), codeOK
	case opMultiRead:
		return s.multiReadLocked(c, r.ops, out), codeOK
	case opSync:
		return appendString(out, r.path), codeOK
	case opSetWatches, opSetWatches2:
		s.setWatchesLocked(c, r.rearm)
		return out, codeOK
	case opAddWatch:
		switch r.mode {
		case 0:
			s.watches.add(r.path, c, watchPersistent)
		case 1:
			s.watches.add(r.path, c, watchRecursive)
		default:
			return out, codeBadArguments
		}
		return appendInt32(out, 0), codeOK
	case opCheckWatches, opRemoveWatches:
		return out, s.removeWatchesLocked(c, r)
	case opGetEphemerals:
		var paths []string
		for _, p := range s.tree.ephemeralsOf(c.session.id) {
			if strings.HasPrefix(p, r.path) {
				paths = append(paths, p)
			}
		}
		return appendStrings(out, paths), codeOK
	case opAllChildrenNumber:
		return s.countBelowLocked(r.path, out)
	case opWhoAmI:
		out = appendInt32(out, int32(1+len(c.ids)))
		out = appendString(appendString(out, "ip"), c.remoteHost())
		for _, id := range c.ids {
			user, _, _ := strings.Cut(id.id, ":")
			out = appendString(appendString(out, id.scheme), user)
		}
		return out, codeOK
	}
	return out, codeUnimplemented
}

func (s *Server) readNodeLocked(c *conn, r *request, n *node, out []byte) []byte {
	kind := watchChild
	switch r.op {
	case opGetData:
		kind = watchData
		out = n.appendStat(appendBytes(out, n.data))
	case opGetChildren:
		out = appendStrings(out, n.children)
	case opGetChildren2:
		out = n.appendStat(appendStrings(out, n.children))
	case opGetACL:
		out = n.appendStat(append(out, n.acl...))
	}
	if r.watch && r.op != opGetACL {
		s.watches.add(r.path, c, kind)
	}
	return out
}

// multiReadLocked answers each read by itself. Together they are cut where the
// reply would pass what any client takes.
func (s *Server) multiReadLocked(c *conn, ops []request, out []byte) []byte {
	for i := range ops {
		n := s.tree.nodes[ops[i].path]
		switch {
		case n == nil:
			out = appendInt32(appendMultiHeader(out, opError, false, codeNoNode), int32(codeNoNode))
		case len(out) > maxReply:
			out = appendInt32(appendMultiHeader(out, opError, false, codeRuntimeInconsistency), int32(codeRuntimeInconsistency))
		default:
			out = s.readNodeLocked(c, &ops[i], n, appendMultiHeader(out, ops[i].op, false, codeOK))
		}
	}
	return appendMultiHeader(out, -1, true, -1)
}

// setWatchesLocked arms again what a client had armed before it reconnected:
// what changed since the zxid it saw last fires at once (DataTree.setWatches).
func (s *Server) setWatchesLocked(c *conn, r *rearm) {
	for _, p := range r.paths[0] {
		switch n := s.tree.nodes[p]; {
		case n == nil:
			c.sendEvent(eventDeleted, p, c)
		case n.mzxid > r.relativeZxid:
			c.sendEvent(eventDataChanged, p, c)
		default:
			s.watches.add(p, c, watchData)
		}
	}
	for _, p := range r.paths[1] {
		if s.tree.nodes[p] != nil {
			c.sendEvent(eventCreated, p, c)
		} else {
			s.watches.add(p, c, watchData)
		}
	}
	for _, p := range r.paths[2] {
		switch n := s.tree.nodes[p]; {
		case n == nil:
			c.sendEvent(eventDeleted, p, c)
		case n.pzxid > r.relativeZxid:
			c.sendEvent(eventChildrenChanged, p, c)
		default:
			s.watches.add(p, c, watchChild)
		}
	}
	for _, p := range r.paths[3] {
		s.watches.add(p, c, watchPersistent)
	}
	for _, p := range r.paths[4] {
		s.watches.add(p, c, watchRecursive)
	}
}

// removeWatchesLocked also answers checkWatches, which removes nothing. The
// types are those of Watcher.WatcherType.
func (s *Server) removeWatchesLocked(c *conn, r *request) code {
	var kind watchKind
	switch r.mode {
	case 1:
		kind = watchChild
	case 2:
		kind = watchData
	case 3:
		kind = watchChild | watchData | watchPersistent | watchRecursive
	default:
		return codeBadArguments
	}
	found := s.watches.byPath[r.path][c]&kind != 0
	if found && r.op == opRemoveWatches {
		s.watches.remove(r.path, c, kind)
	}
	if !found {
		return codeNoWatcher
	}
	return codeOK
}

func (s *Server) countBelowLocked(path string, out []byte) ([]byte, code) {
	if s.tree.nodes[path] == nil {
		return out, codeNoNode
	}
	prefix := strings.TrimSuffix(path, "/") + "/"
	n := int32(0)
	for p := range s.tree.nodes {
		if p != "/" && strings.HasPrefix(p, prefix) {
			n++
		}
	}
	return appendInt32(out, n), codeOK
}
