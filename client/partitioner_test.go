package client

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestMurmur2 has the vectors of Kafka's UtilsTest.testMurmur2.
func TestMurmur2(t *testing.T) {
	for key, want := range map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536,
		"a-little-bit-longer-string": -1486304829, "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107,
	} {
		if got := int32(murmur2([]byte(key))); got != want {
			t.Errorf("murmur2(%q) = %d, want %d", key, got, want)
		}
	}
}

// FuzzMurmurPartition: the partition is one of those that there are, and the one
// of franz-go, which wrote the hash down independently.
func FuzzMurmurPartition(f *testing.F) {
	f.Add([]byte("key"), int32(7))
	f.Add([]byte{}, int32(1))
	f.Add([]byte{0xff, 0x80, 0x7f}, int32(1<<31-1))
	theirs := kgo.StickyKeyPartitioner(nil).ForTopic("t")
	f.Fuzz(func(t *testing.T, key []byte, n int32) {
		if n < 1 || key == nil {
			return
		}
		got := MurmurPartition(key, n)
		if want := theirs.Partition(&kgo.Record{Key: key}, int(n)); got < 0 || got >= n || int(got) != want {
			t.Errorf("MurmurPartition(%x, %d) = %d, franz-go has %d", key, n, got, want)
		}
	})
}

func TestPartitioners(t *testing.T) {
	const n, records = 4, 400
	key := &kgo.Record{Key: []byte("foobar")}
	for _, tt := range []struct {
		name        string
		p           kgo.Partitioner
		consistent  bool // whether a record with a key needs its partition
		least, most int  // records of a partition
	}{
		{"murmur2", Murmur2(), true, 0, records},
		{"sticky", Sticky(), false, 0, records},
		{"round robin", RoundRobin(), false, records / n, records / n},
		{"random", Random(), false, records / n / 3, records / n * 3},
		{"custom", Custom(func(r *kgo.Record, n int) int { return len(r.Key) % n }), true, 0, records},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := tt.p.ForTopic("t")
			if got := p.RequiresConsistency(key); got != tt.consistent {
				t.Errorf("RequiresConsistency is %v", got)
			}
			var count [n]int
			for range records {
				count[p.Partition(key, n)]++
			}
			for _, c := range count {
				if c < tt.least || c > tt.most {
					t.Errorf("spread as %v", count)
					break
				}
			}
		})
	}
}
