//go:build integration

package integration

import (
	"fmt"
	"strings"
	"testing"
)

// old makes kcat speak as a client of Kafka 0.9 does: Produce and Fetch of
// versions 0 and 1, message format 0.
func old(args ...string) []string {
	return append([]string{"-X", "api.version.request=false", "-X", "broker.version.fallback=0.9.0"}, args...)
}

// TestKcatOld: old clients and new ones read what the other kind wrote, in each
// codec. Batches are smaller than what is fetched: before version 3 of Fetch there
// is no answer with a larger one.
func TestKcatOld(t *testing.T) {
	b := newBroker(t)
	for _, codec := range []string{"none", "gzip", "snappy", "lz4"} {
		topic := "old-" + codec
		var lines []string
		for i, kind := range []string{"old", "new"} {
			part := numbered(fmt.Sprint(i, kind), 2000)
			args := []string{"-P", "-b", b.addr, "-t", topic, "-z", codec, "-X", "topic.request.required.acks=-1", "-X", "batch.num.messages=300"}
			if kind == "old" {
				args = old(args...)
			}
			must(t, text(part), "kcat", args...)
			lines = append(lines, part...)
		}
		read := []string{"-C", "-b", b.addr, "-t", topic, "-o", "beginning", "-e", "-q", "-X", "fetch.message.max.bytes=30000"}
		for _, args := range [][]string{read, old(read...)} {
			if got := must(t, "", "kcat", args...); got != text(lines) {
				t.Errorf("%s, %v: %d bytes, want %d", codec, args, len(got), len(text(lines)))
			}
		}
		from := must(t, "", "kcat", old("-C", "-b", b.addr, "-t", topic, "-o", "3990", "-e", "-q", "-f", "%o %s\n")...)
		if want := "3990 " + lines[3990] + "\n"; !strings.HasPrefix(from, want) || strings.Count(from, "\n") != 10 {
			t.Errorf("%s, from 3990: %q", codec, from)
		}
	}
}
