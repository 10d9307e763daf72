package batch

import (
	"bytes"
	"sync"
	"testing"
	"time"
)

// TestRoomIsEnough: nothing decompresses to more than the room that was asked for.
func TestRoomIsEnough(t *testing.T) {
	c := NewCodecs(Limits{})
	for codec := Gzip; codec <= Zstd; codec++ {
		for name, p := range payloads() {
			packed, err := c.Compress(codec, DefaultLevel, nil, p)
			if err != nil {
				t.Fatal(err)
			}
			if n := c.most(codec, packed); n < len(p) {
				t.Errorf("%s %s: %d bytes in room for %d", codec, name, len(p), n)
			} else if (codec == LZ4 || codec == Snappy) && n > 300*len(packed)+1<<16 {
				t.Errorf("%s %s: room for %d bytes, of %d", codec, name, n, len(packed))
			}
			for cut := range min(len(packed), 64) { // whatever a client sends
				if n := c.most(codec, packed[:cut]); n < 0 || n > c.limits.of(cut) {
					t.Errorf("%s %s cut to %d: %d", codec, name, cut, n)
				}
			}
		}
	}
}

// TestOpenBatchesAreBounded: who opens a batch that may become large waits while
// others of that kind are open; who opens a small one does not.
func TestOpenBatchesAreBounded(t *testing.T) {
	c := NewCodecs(Limits{Absolute: 1 << 20, Floor: 1 << 20})
	large, err := c.Compress(Gzip, DefaultLevel, nil, bytes.Repeat([]byte("x"), 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	small, err := c.Compress(Snappy, DefaultLevel, nil, []byte("small"))
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	open, most := 0, 0
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			err := c.Opening(Gzip, large, func() error {
				mu.Lock()
				open++
				most = max(most, open)
				if used, limit := c.Room(); used != limit {
					t.Errorf("%d bytes of %d are taken", used, limit)
				}
				mu.Unlock()
				got, err := c.Decompress(Gzip, nil, large, 0)
				if err != nil || len(got) != 1<<20 {
					t.Errorf("%d bytes: %v", len(got), err)
				}
				mu.Lock()
				open--
				mu.Unlock()
				return c.Opening(Snappy, small, func() error { return nil }) // no room is asked for
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("somebody waits for ever")
	}
	if used, limit := c.Room(); used != 0 || limit != 2<<20 {
		t.Errorf("%d of %d bytes are taken at the end", used, limit)
	}
	if most != 1 {
		t.Errorf("%d were open at a time", most)
	}
}
