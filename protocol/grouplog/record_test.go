package grouplog

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func ptr[T any](v T) *T { return &v }

// TestGoldenTransaction reads what Apache Kafka 3.9.1 wrote, and writes the same
// bytes.
func TestGoldenTransaction(t *testing.T) {
	r := records(t, "transaction.log")[0]
	k, err := DecodeKey(r.Key)
	if want := (Key{KeyOffset, 1, "test-group", "golden", 0}); err != nil || k != want {
		t.Errorf("key: got %+v, %v, want %+v", k, err, want)
	}
	v, err := DecodeOffsetValue(r.Value)
	if want := (OffsetValue{3, 123, 0, "tx meta", 1795223324575, NoExpiration}); err != nil || v != want {
		t.Errorf("value: got %+v, %v, want %+v", v, err, want)
	}
	if got := AppendOffsetKey(nil, k.Group, k.Topic, k.Partition); !bytes.Equal(got, r.Key) {
		t.Errorf("key: got %x, want %x", got, r.Key)
	}
	if got := AppendOffsetValue(nil, &v); !bytes.Equal(got, r.Value) {
		t.Errorf("value: got %x, want %x", got, r.Value)
	}
}

func TestGroupValueRoundTrip(t *testing.T) {
	want := GroupValue{
		Version: 3, ProtocolType: "consumer", Generation: 7, Protocol: ptr("range"), Leader: ptr("m1"), StateTimestamp: 22,
		Members: []MemberValue{
			{"m1", ptr("i"), "c", "/127.0.0.1", 300000, 45000, []byte{1}, []byte{2, 3}},
			{"m2", nil, "", "", 0, 0, []byte{}, []byte{}},
		},
	}
	got, err := DecodeGroupValue(AppendGroupValue(nil, &want))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// FuzzRecords decodes arbitrary keys and values; what decodes must be written
// and read back alike, and agree with kmsg where it knows the version.
func FuzzRecords(f *testing.F) {
	for _, name := range []string{"versions.log", "consumers.log", "transaction.log"} {
		for _, r := range records(f, name) {
			f.Add(r.Key, r.Value)
		}
	}
	f.Fuzz(func(t *testing.T, key, value []byte) {
		if k, err := DecodeKey(key); err == nil {
			again := k
			switch k.Kind {
			case KeyOffset:
				again, err = DecodeKey(AppendOffsetKey(nil, k.Group, k.Topic, k.Partition))
			case KeyGroup:
				again, err = DecodeKey(AppendGroupKey(nil, k.Group))
			}
			again.Version = k.Version
			if err != nil || again != k {
				t.Errorf("key %+v became %+v, %v", k, again, err)
			}
		}
		if v, err := DecodeOffsetValue(value); err == nil && FitsString(v.Metadata) {
			again, err := DecodeOffsetValue(AppendOffsetValue(nil, &v))
			if again.Version == 1 {
				v.LeaderEpoch = NoEpoch
			}
			again.Version = v.Version
			if err != nil || again != v {
				t.Errorf("offset %+v became %+v, %v", v, again, err)
			}
			var m kmsg.OffsetCommitValue
			if v.Version <= 3 {
				if err := m.ReadFrom(value); err != nil || m.Offset != v.Offset || m.Metadata != v.Metadata {
					t.Errorf("kmsg reads %+v, %v, ours is %+v", m, err, v)
				}
			}
		}
		if v, err := DecodeGroupValue(value); err == nil && v.Version <= 3 {
			again, err := DecodeGroupValue(AppendGroupValue(nil, &v))
			if err != nil || len(again.Members) != len(v.Members) || again.Generation != v.Generation {
				t.Errorf("group %+v became %+v, %v", v, again, err)
			}
			var m kmsg.GroupMetadataValue
			if err := m.ReadFrom(value); err != nil || m.Generation != v.Generation || len(m.Members) != len(v.Members) {
				t.Errorf("kmsg reads %+v, %v, ours is %+v", m, err, v)
			}
		}
		DumpText(0, key, value)
		MessageText(KeyOffset, key, value)
		MessageText(KeyGroup, key, value)
	})
}
