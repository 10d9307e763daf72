package dynamic

import (
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"

	"barnabas/internal/kafka"
	"barnabas/internal/zktest"
	"barnabas/zkpaths"
	"barnabas/zkpaths/session"
)

// both runs a test on the fake and on a real ZooKeeper.
func both(t *testing.T, f func(t *testing.T, zk *session.Client, s *Store)) {
	zktest.Both(t, func(t *testing.T, connect string) {
		zk, err := session.Open(t.Context(), session.Options{Connect: connect})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { zk.Close() })
		f(t, zk, NewStore(zk))
	})
}

func setting(name, value string) func(map[string]string) (map[string]string, error) {
	return func(now map[string]string) (map[string]string, error) {
		next := maps.Clone(now)
		next[name] = value
		return next, nil
	}
}

func stored(t *testing.T, zk *session.Client, path string) map[string]string {
	t.Helper()
	data, _, err := zk.Get(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	values, err := zkpaths.DecodeConfig(data)
	if err != nil {
		t.Fatal(err)
	}
	return values
}

// TestNoChangeIsLost: each of many who write at a time keeps what the others
// wrote; Apache Kafka's brokers overwrite each other.
func TestNoChangeIsLost(t *testing.T) {
	both(t, func(t *testing.T, zk *session.Client, s *Store) {
		const writers, each = 4, 5
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := range each {
					for { // whoever loses a race ten times tells its caller
						err := s.AlterBroker(t.Context(), kafka.NoBroker, false, setting(fmt.Sprintf("k%d.%d", w, i), "v"))
						if err == nil {
							break
						}
						if !errors.Is(err, session.ErrBadVersion) && !errors.Is(err, session.ErrNodeExists) {
							t.Error(err)
							return
						}
					}
				}
			})
		}
		wg.Wait()
		if got := stored(t, zk, defaultPath()); len(got) != writers*each {
			t.Errorf("%d configs, want %d: %v", len(got), writers*each, got)
		}
		names, _, err := zk.Children(t.Context(), zkpaths.ConfigChanges)
		if err != nil || len(names) != writers*each {
			t.Errorf("%d notifications: %v", len(names), err)
		}
	})
}

func TestTopicMustExist(t *testing.T) {
	both(t, func(t *testing.T, zk *session.Client, s *Store) {
		if err := s.AlterTopic(t.Context(), "t", false, setting("a", "1")); !errors.Is(err, ErrNoTopic) {
			t.Errorf("no topic: %v", err)
		}
		if _, there, err := zk.Exists(t.Context(), zkpaths.TopicConfigPath("t")); there || err != nil {
			t.Errorf("overrides of no topic: %v %v", there, err)
		}
		if _, err := zk.CreateAll(t.Context(), zkpaths.TopicPath("t"), []byte("{}"), session.Persistent); err != nil {
			t.Fatal(err)
		}
		if err := s.AlterTopic(t.Context(), "t", true, setting("a", "1")); err != nil {
			t.Error(err)
		}
		if _, there, err := zk.Exists(t.Context(), zkpaths.TopicConfigPath("t")); there || err != nil {
			t.Errorf("a dry run wrote: %v %v", there, err)
		}
		for _, name := range []string{"a", "b"} { // the znode is made, then set
			if err := s.AlterTopic(t.Context(), "t", false, setting(name, "1")); err != nil {
				t.Error(err)
			}
		}
		if got := stored(t, zk, zkpaths.TopicConfigPath("t")); len(got) != 2 {
			t.Error(got)
		}
		refused := errors.New("refused")
		err := s.AlterTopic(t.Context(), "t", false, func(map[string]string) (map[string]string, error) { return nil, refused })
		if !errors.Is(err, refused) {
			t.Error(err)
		}
	})
}
