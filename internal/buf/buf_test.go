package buf

import "testing"

func TestClasses(t *testing.T) {
	p := New()
	for _, n := range []int{0, 1, 511, 512, 513, 4096, 4097, 1 << 22, 1<<22 + 1, 10 << 20} {
		b := p.Get(n)
		if len(b.B) != 0 || cap(b.B) < n || n <= 1<<22 && cap(b.B) > max(512, 2*n) {
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
