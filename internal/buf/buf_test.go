package buf

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestClasses(t *testing.T) {
	p := New()
	for _, n := range []int{0, 1, 511, 512, 513, 4096, 4097, 1 << 22, 1<<22 + 1, 10 << 20} {
		b := p.Get(n)
		if len(b.B) != 0 || cap(b.B) < n || cap(b.B) > max(512, 2*n) {
			t.Errorf("Get(%d): length %d, capacity %d", n, len(b.B), cap(b.B))
		}
		b.Release()
	}
}

func TestGrowKeepsContent(t *testing.T) {
	p := New()
	b := p.Get(10)
	b.B = append(b.B, "content"...)
	if b = b.Grow(10_000); string(b.B) != "content" || cap(b.B) < 10_007 {
		t.Errorf("got %q, capacity %d", b.B, cap(b.B))
	}
	if same := b.Grow(1); same != b {
		t.Error("grew without need")
	}
	b.Release()
}

// TestForeignCapacity: a buffer that append has made larger finds a class whose
// promise it keeps.
func TestForeignCapacity(t *testing.T) {
	p := New()
	b := p.Get(512)
	b.B = make([]byte, 0, 3000)
	b.Release()
	for range 100 {
		if b := p.Get(2048); cap(b.B) < 2048 {
			t.Fatalf("capacity %d", cap(b.B))
		}
	}
}

// TestLargeAreBounded: however many are released, few are kept, and they are
// lent again to who needs about so much.
func TestLargeAreBounded(t *testing.T) {
	p := New()
	var lent []*Buf
	for range 10 {
		lent = append(lent, p.Get(5<<20))
	}
	for _, b := range lent {
		b.Release()
	}
	if n := p.Idle(); n > maxIdle || n < maxIdle-5<<20 {
		t.Errorf("%d bytes idle", n)
	}
	p.Get(maxIdle + 1).Release()
	if n := p.Idle(); n > maxIdle || n == 0 {
		t.Errorf("%d bytes idle after one that is too large", n)
	}
	if b := p.GetIdle(6 << 20); b != nil {
		t.Errorf("6 MiB in a buffer of %d", cap(b.B))
	}
	if b := p.GetIdle(1 << 20); b != nil {
		t.Errorf("a buffer of %d for 1 MiB", cap(b.B))
	}
	b := p.GetIdle(4 << 20)
	if b == nil {
		t.Fatal("no idle buffer for 4 MiB")
	}
	b.Release()
	if n := testing.AllocsPerRun(5, func() { p.Get(5 << 20).Release() }); n != 0 {
		t.Errorf("%v allocations of a large buffer", n)
	}
}

// TestBestFit: a small need does not take what a large one will want.
func TestBestFit(t *testing.T) {
	p := New()
	one, two, three := p.Get(1<<20), p.Get(2<<20), p.Get(3<<20)
	three.Release()
	one.Release()
	two.Release()
	if b := p.Get(900 << 10); b != one {
		t.Errorf("900 KiB in a buffer of %d", cap(b.B))
	}
	if b := p.Get(900 << 10); b != two {
		t.Errorf("next 900 KiB in a buffer of %d", cap(b.B))
	}
}

// TestIdleAreGivenUp: the collector gets what nobody takes for a minute, and not
// what is in use.
func TestIdleAreGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New()
		used, unused := p.Get(1<<20), p.Get(8<<20)
		used.Release()
		unused.Release()
		for range 8 {
			time.Sleep(idleTime / 4)
			if b := p.Get(1 << 20); b != used {
				t.Fatal("a buffer in use was given up")
			}
			used.Release()
		}
		synctest.Wait()
		if n := p.Idle(); n != cap(used.B) {
			t.Errorf("%d bytes idle", n)
		}
		time.Sleep(2 * idleTime)
		synctest.Wait()
		if n := p.Idle(); n != 0 {
			t.Errorf("%d bytes idle at the end", n)
		}
	})
}
