package devzk_test

import (
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"barnabas/zkpaths/devzk"
)

func TestSmoke(t *testing.T) {
	s, err := devzk.Start(devzk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, ev, err := zk.Connect([]string{s.Addr()}, 4*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go func() {
		for range ev {
		}
	}()
	if p, err := c.Create("/a", []byte("x"), 0, zk.WorldACL(zk.PermAll)); err != nil || p != "/a" {
		t.Fatal(p, err)
	}
	d, st, w, err := c.GetW("/a")
	t.Log(string(d), st, err)
	rs, err := c.Multi(&zk.CheckVersionRequest{Path: "/a", Version: 0}, &zk.SetDataRequest{Path: "/a", Data: []byte("y"), Version: 0}, &zk.CreateRequest{Path: "/a/b", Acl: zk.WorldACL(zk.PermAll), Flags: 3})
	t.Log(rs, err)
	t.Log(<-w)
	rs, err = c.Multi(&zk.SetDataRequest{Path: "/a", Data: []byte("y"), Version: 1}, &zk.CheckVersionRequest{Path: "/a", Version: 0}, &zk.CreateRequest{Path: "/a/b", Acl: zk.WorldACL(zk.PermAll), Flags: 3})
	t.Log(rs, err)
	ch, st, err := c.Children("/a")
	t.Log(ch, st, err)
	start := time.Now()
	for range 5000 {
		c.Set("/a", []byte("z"), -1)
	}
	t.Log(5000/time.Since(start).Seconds(), "sets/s")
}
