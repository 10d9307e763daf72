// Package zkpaths knows where a Kafka cluster keeps what in ZooKeeper, and how:
// one file for each family of znodes, with its paths, its encoder and its
// decoder. It does no I/O.
//
// The formats are those of Apache Kafka 3.9 (kafka.zk.ZkData), plus our own
// /metadata_changes. All paths are relative to the chroot. Decoders take what
// any Kafka version or a human may have written: any order of keys, unknown
// keys, null or empty data, older versions; and never more than MaxData bytes.
// What they refuse is an error that wraps ErrData.
package zkpaths

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// MaxData bounds what is decoded, in bytes. ZooKeeper's own limit is 1 MiB
// unless somebody raised it.
const MaxData = 4 << 20

// maxDepth bounds the nesting of JSON; the deepest format has four levels.
const maxDepth = 64

// ErrData is wrapped by every decoder's error.
var ErrData = errors.New("zkpaths: bad znode data")

func dataError(what string, err error) error { return fmt.Errorf("%w: %s: %w", ErrData, what, err) }

func dataErrorf(what, format string, args ...any) error {
	return dataError(what, fmt.Errorf(format, args...))
}

// parse decodes one JSON object into v.
func parse(what string, data []byte, v any) error {
	if len(data) > MaxData {
		return dataErrorf(what, "%d bytes, at most %d", len(data), MaxData)
	}
	data = bytes.TrimSpace(data)
	if len(data) == 0 || data[0] != '{' {
		return dataErrorf(what, "not a JSON object: %q", clip(data))
	}
	if depth(data) > maxDepth {
		return dataErrorf(what, "nested deeper than %d", maxDepth)
	}
	if err := json.Unmarshal(data, v); err != nil {
		return dataError(what, err)
	}
	return nil
}

// depth is the deepest nesting of a JSON text, which need not be valid.
func depth(data []byte) int {
	deepest, now := 0, 0
	quoted := false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			now++
			deepest = max(deepest, now)
		case c == '}' || c == ']':
			now--
		}
	}
	return deepest
}

// render encodes plain values, without escaping <, > and &, which Kafka leaves
// as they are.
func render(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic("zkpaths: a value that can't be encoded: " + err.Error()) // only plain values are given
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func clip(b []byte) []byte { return b[:min(len(b), 64)] }

// text is a number that Kafka writes as a string. Both are read.
type text int64

func (n text) MarshalJSON() ([]byte, error) {
	return strconv.AppendQuote(nil, strconv.FormatInt(int64(n), 10)), nil
}

func (n *text) UnmarshalJSON(b []byte) error {
	s := string(b)
	if s == "null" {
		return nil
	}
	v, err := strconv.ParseInt(strings.Trim(s, `"`), 10, 64)
	if err != nil {
		return fmt.Errorf("%q is not a number", clip(b))
	}
	*n = text(v)
	return nil
}

// Children of the same parent are one path apart.
func child(parent, name string) string { return parent + "/" + name }

// childOf gives the name of the direct child of parent that path is.
func childOf(parent, path string) (string, bool) {
	name, ok := strings.CutPrefix(path, parent+"/")
	return name, ok && name != "" && !strings.Contains(name, "/")
}

// sequence reads the ten digits that ZooKeeper put behind prefix. Past 2³¹
// children of one parent they are no number that we take.
func sequence(prefix, name string) (int64, bool) {
	digits, ok := strings.CutPrefix(name, prefix)
	if !ok || len(digits) != 10 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 31)
	return int64(n), err == nil
}
