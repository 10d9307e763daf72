//go:build integration

package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/go-zookeeper/zk"

	"barnabas/internal/zktest"
)

// znode is what the golden files tell of one.
type znode struct {
	data string // "<null>" and "<empty>" stand for these
	kind string // persistent or ephemeral
	stat string // version, acl
}

// golden reads the znodes of a fresh broker of Apache Kafka.
func golden(t *testing.T) map[string]znode {
	t.Helper()
	all := map[string]znode{}
	for _, file := range []string{"testdata/01-one-broker-fresh.txt", "testdata/01-one-broker-fresh.stat.txt"} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
			n := all[f[0]]
			if len(f) == 2 {
				n.data = f[1]
			} else {
				// path, kind, version, cversion, aversion, len, children, acl
				n.kind, n.stat = f[1], f[2]+" "+f[7]
			}
			all[f[0]] = n
		}
	}
	return all
}

// walk reads what is below root.
func walk(c *zk.Conn, root string) (map[string]znode, error) {
	all := map[string]znode{}
	paths := []string{"/"}
	for len(paths) > 0 {
		p := paths[0]
		paths = paths[1:]
		full := strings.TrimSuffix(root+p, "/")
		data, st, err := c.Get(full)
		if err != nil {
			return nil, err
		}
		acl, _, err := c.GetACL(full)
		if err != nil {
			return nil, err
		}
		n := znode{data: string(data), kind: "persistent", stat: fmt.Sprintf("version=%d acl=", st.Version)}
		for _, a := range acl {
			n.stat += fmt.Sprintf("%s:%s:%d", a.Scheme, a.ID, a.Perms)
		}
		if st.EphemeralOwner != 0 {
			n.kind = "ephemeral"
		}
		if data == nil {
			n.data = "<null>"
		} else if len(data) == 0 {
			n.data = "<empty>"
		}
		all[p] = n
		children, _, err := c.Children(full)
		if err != nil {
			return nil, err
		}
		for _, name := range children {
			paths = append(paths, strings.TrimSuffix(p, "/")+"/"+name)
		}
	}
	return all, nil
}

// shape replaces the values of JSON by their types.
func shape(data string) string {
	var v any
	if err := json.Unmarshal([]byte(data), &v); err != nil {
		return data
	}
	b, err := json.Marshal(types(v))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func types(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			if k != "barnabas" { // our marker: others ignore what they don't know
				out[k] = types(e)
			}
		}
		return out
	case []any:
		var out []any
		for _, e := range v {
			out = append(out, types(e))
		}
		return out
	}
	return fmt.Sprintf("%T", v)
}

// TestZnodesOfAFreshBroker: the same znodes as Apache Kafka makes, of the same
// kind and shape, beside the change log.
func TestZnodesOfAFreshBroker(t *testing.T) {
	b := newBroker(t)
	addr, root, _ := strings.Cut(b.zk, "/")
	root = "/" + root
	c := zktest.Dial(t, addr)
	want := golden(t)
	var have map[string]znode
	eventually(t, patience, "all znodes of a fresh broker", func() error {
		var err error
		if have, err = walk(c, root); err != nil {
			return err
		}
		for p := range want {
			if _, ok := have[p]; !ok {
				return fmt.Errorf("%s is missing", p)
			}
		}
		return nil
	})
	for p, n := range have {
		w, ok := want[p]
		switch {
		case strings.HasPrefix(p, "/metadata_changes"):
		case !ok:
			t.Errorf("%s is not a znode of Apache Kafka: %+v", p, n)
		case n.kind != w.kind || p != "/" && n.stat != w.stat:
			t.Errorf("%s is %s %s, want %s %s", p, n.kind, n.stat, w.kind, w.stat)
		case shape(n.data) != shape(w.data):
			t.Errorf("%s holds\n%s\nwant the shape of\n%s", p, n.data, w.data)
		}
	}
	listed := strings.Split(zkCLI(t, addr, "ls", "-R", root), "\n")
	for p := range want {
		if full := strings.TrimSuffix(root+p, "/"); !slices.Contains(listed, full) {
			t.Errorf("zkCli's ls -R does not show %s", full)
		}
	}
}

// TestDeletingControllerElectsAgain is an operator's old trick.
func TestDeletingControllerElectsAgain(t *testing.T) {
	b := newBroker(t)
	addr, root, _ := strings.Cut(b.zk, "/")
	c := zktest.Dial(t, addr)
	var before *zk.Stat
	eventually(t, patience, "a first controller", func() (err error) {
		_, before, err = c.Get("/" + root + "/controller")
		return err
	})
	zkCLI(t, addr, "delete", "/"+root+"/controller")
	eventually(t, patience, "a new controller of epoch 2", func() error {
		_, st, err := c.Get("/" + root + "/controller")
		if err != nil {
			return err
		}
		epoch, _, err := c.Get("/" + root + "/controller_epoch")
		if err != nil || string(epoch) != "2" || st.Czxid == before.Czxid {
			return fmt.Errorf("epoch %q, czxid %d, %v", epoch, st.Czxid, err)
		}
		return nil
	})
	must(t, "after\n", "kcat", "-P", "-b", b.addr, "-t", "after-election", "-X", "message.timeout.ms=120000")
}
