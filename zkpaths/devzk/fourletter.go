package devzk

import (
	"fmt"
	"strings"
)

// fourLetters answers ZooKeeper's four letter words. No packet's length looks
// like one: they would be above 1.6 GB.
func (s *Server) fourLetters(word string) (string, bool) {
	switch word {
	case "ruok":
		return "imok", true
	case "isro":
		return "rw", true
	case "srvr", "stat", "mntr":
	default:
		return "", false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	if word == "mntr" {
		line := func(key string, value any) { fmt.Fprintf(&b, "zk_%s\t%v\n", key, value) }
		line("version", version)
		line("server_state", "standalone")
		line("packets_received", s.requests)
		line("num_alive_connections", len(s.conns))
		line("global_sessions", len(s.sessions))
		line("znode_count", len(s.tree.nodes))
		line("watch_count", s.watches.count())
		line("ephemerals_count", s.ephemeralCountLocked())
		line("approximate_data_size", s.tree.bytes)
		return b.String(), true
	}
	fmt.Fprintf(&b, "Zookeeper version: %s\n", version)
	if word == "stat" {
		b.WriteString("Clients:\n")
		for c := range s.conns {
			fmt.Fprintf(&b, " /%s[1](queued=0)\n", c.net.RemoteAddr())
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "Latency min/avg/max: 0/0.0/0\nReceived: %d\nSent: %d\nConnections: %d\nOutstanding: 0\nZxid: %#x\nMode: standalone\nNode count: %d\n",
		s.requests, s.requests, len(s.conns), s.zxid, len(s.tree.nodes))
	return b.String(), true
}

// version is what the protocol and the answers of this server follow.
const version = "3.8.4-barnabas-devzk, built on 2024-02-12 22:16 UTC"

func (s *Server) ephemeralCountLocked() int {
	n := 0
	for _, set := range s.tree.ephemerals {
		n += len(set)
	}
	return n
}
