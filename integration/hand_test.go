//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/twmb/franz-go/pkg/kadm"

	"barnabas/internal/zktest"
)

// hand edits znodes as an operator with zkCli would.
type hand struct {
	t    *testing.T
	b    *broker
	c    *zk.Conn
	root string
}

func newHand(t *testing.T, b *broker) *hand {
	c, root := b.tree()
	return &hand{t, b, c, root}
}

func (h *hand) set(path, data string) {
	h.t.Helper()
	if _, err := h.c.Set(h.root+path, []byte(data), -1); err != nil {
		h.t.Fatalf("set %s: %v", path, err)
	}
}

func (h *hand) create(path, data string) {
	h.t.Helper()
	if _, err := h.c.Create(h.root+path, []byte(data), 0, zk.WorldACL(zk.PermAll)); err != nil {
		h.t.Fatalf("create %s: %v", path, err)
	}
}

func (h *hand) get(path string) (string, *zk.Stat) {
	h.t.Helper()
	data, st, err := h.c.Get(h.root + path)
	if errors.Is(err, zk.ErrNoNode) {
		return "", nil
	}
	if err != nil {
		h.t.Fatalf("get %s: %v", path, err)
	}
	return string(data), st
}

// remove deletes a znode and all below it, more than once if somebody makes
// them again meanwhile.
func (h *hand) remove(path string) {
	h.t.Helper()
	eventually(h.t, patience, "delete "+path, func() error { return h.try(path) })
}

func (h *hand) try(path string) error {
	names, _, err := h.c.Children(h.root + path)
	for _, n := range names {
		if err == nil {
			err = h.try(path + "/" + n)
		}
	}
	if err == nil {
		err = h.c.Delete(h.root+path, -1)
	}
	if errors.Is(err, zk.ErrNoNode) {
		return nil
	}
	return err
}

// works wants all that needs the controller and the change log to work: a topic
// made, written, read and deleted.
func (h *hand) works(when string) {
	h.t.Helper()
	begin := time.Now()
	eventually(h.t, patience, "the broker is well "+when, func() error {
		ctx, cancel := context.WithTimeout(h.t.Context(), 5*time.Second)
		defer cancel()
		adm := kadm.NewClient(h.b.client())
		defer adm.Close()
		name := fmt.Sprintf("works-%d", time.Now().UnixNano())
		res, err := adm.CreateTopics(ctx, 2, 1, nil, name)
		if err != nil || res[name].Err != nil {
			return errors.Join(err, res[name].Err)
		}
		c := h.b.client()
		defer c.Close()
		for p := range int32(2) {
			if err := producePartition(ctx, c, name, p, "x"); err != nil {
				return err
			}
		}
		del, err := adm.DeleteTopics(ctx, name)
		if err != nil || del[name].Err != nil {
			return errors.Join(err, del[name].Err)
		}
		return nil
	})
	h.t.Logf("well %s after %v", when, time.Since(begin).Round(time.Millisecond))
}

// TestHands: what operators do in zkCli ends well, under load.
func TestHands(t *testing.T) {
	b := newBroker(t, "zookeeper.session.timeout.ms=3000")
	h := newHand(t, b)
	createTopic(t, b, "load", 3)
	l := startLoad(b, "load", 4)
	l.progress(t, 200, patience, "at first")
	l.lap()
	step := func(name string, f func()) {
		t.Helper()
		f()
		l.progress(t, 200, patience, "after: "+name)
		h.works("after: " + name)
		l.progress(t, 50, patience, "after: "+name)
		t.Logf("longest gap %v: %s", l.lap().Round(time.Millisecond), name)
	}
	step("delete /controller", func() { h.remove("/controller") })
	step("delete /brokers/ids/1", func() { h.remove("/brokers/ids/1") })
	step("set /brokers/ids/1", func() { d, _ := h.get("/brokers/ids/1"); h.set("/brokers/ids/1", d+" ") })
	step("garbage in /brokers/ids/1", func() { h.set("/brokers/ids/1", "garbage") })
	step("both", func() { h.remove("/brokers/ids/1"); h.remove("/controller") })
	step("delete /metadata_changes", func() { h.remove("/metadata_changes") })
	step("delete one change", func() {
		names, _, err := h.c.Children(h.root + "/metadata_changes")
		if err != nil {
			t.Fatal(err)
		}
		h.remove("/metadata_changes/" + names[0])
	})
	step("a garbage change", func() {
		if _, err := h.c.Create(h.root+"/metadata_changes/change_", []byte("garbage"), zk.FlagSequence, zk.WorldACL(zk.PermAll)); err != nil {
			t.Fatal(err)
		}
	})
	step("a change of another name", func() { h.create("/metadata_changes/foo", "bar") })
	step("garbage in /controller", func() { h.set("/controller", "garbage") })
	step("/controller of somebody else", func() {
		eventually(t, patience, "to be quicker than the broker", func() error {
			h.remove("/controller")
			_, err := h.c.Create(h.root+"/controller", []byte(`{"version":2,"brokerid":7,"timestamp":"1","kraftControllerEpoch":-1}`), 0, zk.WorldACL(zk.PermAll))
			return err
		})
		l.progress(t, 3000, patience, "while another reigns")
		h.remove("/controller")
	})
	step("controller epoch raised", func() { h.set("/controller_epoch", "1000") })
	step("controller epoch lowered", func() { h.set("/controller_epoch", "3") })
	step("controller epoch deleted", func() { h.remove("/controller_epoch") })
	step("a state edited: no leader", func() {
		d, _ := h.get("/brokers/topics/load/partitions/0/state")
		h.set("/brokers/topics/load/partitions/0/state", strings.Replace(d, `"leader":1`, `"leader":-1`, 1))
	})
	step("a state edited, then an election", func() {
		d, _ := h.get("/brokers/topics/load/partitions/1/state")
		h.set("/brokers/topics/load/partitions/1/state", strings.Replace(d, `"leader":1`, `"leader":-1`, 1))
		h.remove("/controller")
	})
	step("a state deleted, then an election", func() {
		h.remove("/brokers/topics/load/partitions/1/state")
		h.remove("/controller")
	})
	step("garbage in a state, then an election", func() {
		h.set("/brokers/topics/load/partitions/2/state", "garbage")
		h.remove("/controller")
	})
	step("garbage in a state, then a new registration", func() {
		h.set("/brokers/topics/load/partitions/2/state", "garbage")
		h.remove("/brokers/ids/1")
	})
	step("a topic of garbage", func() { h.create("/brokers/topics/aaa-garbage", "garbage") })
	step("a topic by hand, after the one of garbage", func() {
		h.create("/brokers/topics/by-hand", `{"version":1,"partitions":{"0":[1],"1":[1]}}`)
		eventually(t, patience, "by-hand is led", func() error {
			return producePartition(t.Context(), b.client(), "by-hand", 1, "x")
		})
	})
	step("an election with all that", func() { h.remove("/controller") })
	step("garbage in a topic of ours, then an election", func() { h.set("/brokers/topics/by-hand", "garbage"); h.remove("/controller") })
	step("a topic with a bad name", func() { h.create("/brokers/topics/bad name!", `{"version":1,"partitions":{"0":[1]}}`) })
	step("a topic with foreign replicas", func() { h.create("/brokers/topics/foreign", `{"version":1,"partitions":{"0":[77],"1":[],"2":[1,77]}}`) })
	step("a topic with absurd partitions", func() { h.create("/brokers/topics/absurd", `{"version":1,"partitions":{"2147483647":[1],"-5":[1]}}`) })
	step("a huge gap", func() { h.create("/brokers/topics/gap", `{"version":1,"partitions":{"1000000":[1]}}`) })
	step("delete by /admin", func() {
		h.create("/brokers/topics/doomed", `{"version":1,"partitions":{"0":[1]}}`)
		eventually(t, patience, "doomed is led", func() error { return producePartition(t.Context(), b.client(), "doomed", 0, "x") })
		h.create("/admin/delete_topics/doomed", "")
		eventually(t, patience, "doomed is gone", func() error {
			if _, st := h.get("/brokers/topics/doomed"); st != nil {
				return errors.New("it is there")
			}
			if _, st := h.get("/admin/delete_topics/doomed"); st != nil {
				return errors.New("the mark is there")
			}
			return nil
		})
	})
	step("delete what is not", func() { h.create("/admin/delete_topics/nobody", "") })
	step("delete garbage", func() { h.create("/admin/delete_topics/by-hand", ""); h.create("/admin/delete_topics/aaa-garbage", "") })
	step("a topic's znodes deleted", func() {
		h.create("/brokers/topics/vanish", `{"version":1,"partitions":{"0":[1]}}`)
		eventually(t, patience, "it is led", func() error { return producePartition(t.Context(), b.client(), "vanish", 0, "x") })
		h.remove("/brokers/topics/vanish")
	})
	step("garbage in a topic's config", func() {
		h.set("/config/topics/load", "garbage")
		h.create("/config/changes/config_change_0000000500", `{"version":2,"entity_path":"topics/load"}`)
	})
	step("bad values in a topic's config", func() {
		h.set("/config/topics/load", `{"version":1,"config":{"segment.bytes":"many","nonsense":"1"}}`)
		h.create("/config/changes/config_change_0000000501", `{"version":2,"entity_path":"topics/load"}`)
	})
	step("garbage in config changes", func() {
		h.create("/config/changes/config_change_0000000502", "garbage")
		h.create("/config/changes/foo", "")
	})
	step("election", func() { h.remove("/controller") })
	step("/brokers/ids deleted", func() { h.remove("/brokers/ids") })
	step("/admin deleted", func() { h.remove("/admin") })
	step("/config deleted", func() { h.remove("/config") })
	step("/latest_producer_id_block garbage", func() {
		if _, st := h.get("/latest_producer_id_block"); st != nil {
			h.set("/latest_producer_id_block", "garbage")
		}
		h.remove("/controller")
	})
	step("kill and start", func() { b.proc.Kill(); b.start() })
	step("stop and start", func() { b.stop(); b.start() })
	l.end(t, b, "load", 3)
}

// TestZooKeeperEmptied: a ZooKeeper that lost all its znodes, as by a volume that
// was not mounted, is not the news that all topics are gone: nothing is deleted,
// nothing is registered there, and all is well once the znodes are restored.
func TestZooKeeperEmptied(t *testing.T) {
	own := zktest.NewOwn(t)
	b := prepareBroker(t, own.Addr()+"/k", "log.segment.delete.delay.ms=0")
	b.start()
	b.awaitReady(patience)
	h := newHand(t, b)
	createTopic(t, b, "kept", 2)
	l := startLoad(b, "kept", 4)
	l.progress(t, 200, patience, "at first")
	saved, err := walk(h.c, h.root)
	if err != nil {
		t.Fatal(err)
	}
	own.Kill()
	own.Wipe()
	own.Restart()
	l.progress(t, 200, patience, "beside an empty ZooKeeper")
	b.proc.Kill()
	b.startRefused("cluster.id=", "restore")
	h = newHand(t, b)
	if names, _, err := h.c.Children("/"); err != nil || !slices.Equal(names, []string{"k", "zookeeper"}) && !slices.Equal(names, []string{"zookeeper", "k"}) {
		t.Errorf("made in the empty ZooKeeper: %v, %v", names, err)
	}
	for _, p := range slices.Sorted(maps.Keys(saved)) {
		if n := saved[p]; p != "/" && n.kind == "persistent" && !strings.HasPrefix(p, "/metadata_changes/") {
			data := n.data
			if data == "<null>" || data == "<empty>" {
				data = ""
			}
			if _, err := h.c.Create(h.root+p, []byte(data), 0, zk.WorldACL(zk.PermAll)); err != nil && !errors.Is(err, zk.ErrNodeExists) {
				t.Fatal(p, err)
			}
		}
	}
	b.start()
	b.awaitReady(patience)
	l.progress(t, 200, patience, "after the restoration")
	h.works("after the restoration")
	l.end(t, b, "kept", 2)
	if gone, _ := filepath.Glob(filepath.Join(b.dir, "data", "kept-*-*")); len(gone) > 0 {
		t.Errorf("moved away: %v", gone)
	}
}
