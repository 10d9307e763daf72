package checkpoint_test

import (
	"bytes"
	"errors"
	"io/fs"
	"path"
	"reflect"
	"strings"
	"testing"
	"time"

	"barnabas/internal/golden"
	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
	"barnabas/log/checkpoint"
)

// TestGolden reads every small file that Kafka wrote and writes it again, byte by
// byte where the format has one order.
func TestGolden(t *testing.T) {
	seen := map[string]int{}
	for _, name := range golden.Names() {
		for file, data := range golden.Files(t, name) {
			kind := path.Base(file)
			if path.Ext(kind) == ".snapshot" {
				kind = ".snapshot"
			}
			var again []byte
			var err error
			switch kind {
			case checkpoint.EpochsFile:
				var epochs []checkpoint.Epoch
				if epochs, err = checkpoint.DecodeEpochs(file, data); err == nil {
					again = checkpoint.EncodeEpochs(epochs)
				}
			case checkpoint.PartitionMetadataFile:
				var id kafka.TopicID
				if id, err = checkpoint.DecodePartitionMetadata(file, data); err == nil {
					again = checkpoint.EncodePartitionMetadata(id)
				}
			case checkpoint.MetaPropertiesFile:
				var m checkpoint.Meta
				if m, err = checkpoint.DecodeMeta(file, data); err == nil {
					again = checkpoint.EncodeMeta(m, dateOf(t, data))
				}
			case ".snapshot":
				var p []checkpoint.Producer
				if p, err = checkpoint.DecodeSnapshot(file, data); err == nil {
					again = checkpoint.EncodeSnapshot(p)
				}
			case checkpoint.RecoveryPointFile, checkpoint.HighWatermarkFile, checkpoint.LogStartFile, checkpoint.CleanerFile:
				var offsets map[kafka.TopicPartition]int64
				if offsets, err = checkpoint.DecodeOffsets(file, data); err == nil {
					again, data = sorted(checkpoint.EncodeOffsets(offsets)), sorted(data)
				}
			case checkpoint.CleanShutdownFile:
				again = []byte(checkpoint.CleanShutdownMarker)
			default:
				continue
			}
			if err != nil || !bytes.Equal(again, data) {
				t.Errorf("%s: %v\ngot  %q\nwant %q", file, err, again, data)
			}
			seen[kind]++
		}
	}
	if len(seen) != 9 || seen[".snapshot"] < 20 {
		t.Errorf("files seen: %v", seen)
	}
}

func dateOf(t *testing.T, data []byte) time.Time {
	t.Helper()
	date, err := time.Parse("#Mon Jan 02 15:04:05 MST 2006", strings.Split(string(data), "\n")[1])
	if err != nil {
		t.Fatal(err)
	}
	return date
}

// sorted sorts the lines after the first two.
func sorted(data []byte) []byte {
	offsets := strings.SplitAfter(string(data), "\n")
	head, rest := offsets[:2], offsets[2:]
	for i := range rest {
		for j := i; j > 0 && rest[j] < rest[j-1]; j-- {
			rest[j], rest[j-1] = rest[j-1], rest[j]
		}
	}
	return []byte(strings.Join(head, "") + strings.Join(rest, ""))
}

func TestGoldenSnapshot(t *testing.T) {
	data := golden.Files(t, "log-clean")["clean/golden-1/00000000000000000407.snapshot"]
	got, err := checkpoint.DecodeSnapshot("s", data)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || got[2].ID != 4 || got[2].TxnFirstOffset != 404 || got[0].TxnFirstOffset != -1 || got[2].LastOffset != 406 || got[2].OffsetDelta != 2 {
		t.Errorf("got %+v", got)
	}
}

func TestFiles(t *testing.T) {
	m := vfs.NewMem()
	if _, err := checkpoint.ReadOffsets(m, "o"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an absent file: %v", err)
	}
	offsets := map[kafka.TopicPartition]int64{{Topic: "b", Partition: 1}: 7, {Topic: "a", Partition: 10}: 0, {Topic: "a", Partition: 9}: 1 << 60}
	epochs := []checkpoint.Epoch{{Epoch: 0, StartOffset: 0}, {Epoch: 5, StartOffset: 12}}
	id := kafka.NewTopicID()
	meta := checkpoint.Meta{BrokerID: 3, ClusterID: "a:b=c #\\é", DirectoryID: "d"}
	producers := []checkpoint.Producer{{ID: 1, Epoch: 2, LastSequence: 3, LastOffset: 4, OffsetDelta: 5, LastTimestamp: 6, CoordinatorEpoch: -1, TxnFirstOffset: -1}}
	for _, err := range []error{
		checkpoint.WriteOffsets(m, "o", offsets),
		checkpoint.WriteEpochs(m, "e", epochs),
		checkpoint.WritePartitionMetadata(m, "p", id),
		checkpoint.WriteMeta(m, "m", meta, time.Unix(0, 0).UTC()),
		checkpoint.WriteSnapshot(m, "s", producers, true),
		m.SyncDir("/"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	syncFile(t, m, "p") // which WritePartitionMetadata leaves to its caller
	m = m.CrashClone(0)
	check := func(got, want any, err error) {
		t.Helper()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %v, want %v (%v)", got, want, err)
		}
	}
	gotOffsets, err := checkpoint.ReadOffsets(m, "o")
	check(gotOffsets, offsets, err)
	gotEpochs, err := checkpoint.ReadEpochs(m, "e")
	check(gotEpochs, epochs, err)
	gotID, err := checkpoint.ReadPartitionMetadata(m, "p")
	check(gotID, id, err)
	gotMeta, err := checkpoint.ReadMeta(m, "m")
	check(gotMeta, meta, err)
	gotProducers, err := checkpoint.ReadSnapshot(m, "s")
	check(gotProducers, producers, err)
	if text := string(checkpoint.EncodeOffsets(offsets)); text != "0\n3\na 9 1152921504606846976\na 10 0\nb 1 7\n" {
		t.Errorf("got %q", text)
	}
	if text := string(checkpoint.EncodeOffsets(nil)); text != "0\n0\n" {
		t.Errorf("got %q", text)
	}
}

func TestCorruptText(t *testing.T) {
	for text, want := range map[string]string{
		"1\n0\n":                   `checkpoint: corrupt: f, line 1: version "1" instead of 0`,
		"0":                        `checkpoint: corrupt: f, line 2: "" is no number of entries`,
		"0\n-1\n":                  `checkpoint: corrupt: f, line 2: "-1" is no number of entries`,
		"0\n99999999999\n":         `checkpoint: corrupt: f, line 2: "99999999999" is no number of entries`,
		"0\n1\n":                   `checkpoint: corrupt: f, line 2: 0 entries where the head says 1`,
		"0\n1\na 0\n":              `checkpoint: corrupt: f, line 3: "a 0" has not 3 words`,
		"0\n1\na 0 -4\n":           `checkpoint: corrupt: f, line 3: "a 0 -4": negative`,
		"0\n1\na x 4\n":            `checkpoint: corrupt: f, line 3: "a x 4": strconv.ParseInt: parsing "x": invalid syntax`,
		"0\n2\na 0 4\na 0 5\n":     `checkpoint: corrupt: f, line 4: "a 0 5": a second entry`,
		"0\n1\na 0 4\nb 0 5\n":     `checkpoint: corrupt: f, line 4: more than the 1 entries that the head says`,
		"0\n2147483647\na 0 4\n":   `checkpoint: corrupt: f, line 3: 1 entries where the head says 2147483647`,
		"\x00\x00\x00\x00\x00\x00": `checkpoint: corrupt: f, line 1: version "\x00\x00\x00\x00\x00\x00" instead of 0`,
	} {
		_, err := checkpoint.DecodeOffsets("f", []byte(text))
		if !errors.Is(err, checkpoint.ErrCorrupt) || err.Error() != want {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
	if got, err := checkpoint.DecodeOffsets("f", nil); err != nil || len(got) != 0 {
		t.Errorf("an empty file: %v, %v", got, err)
	}
	for _, text := range []string{"0\n2\n1 5\n1 6\n", "0\n2\n1 5\n2 5\n", "0\n1\n-1 0\n"} {
		if _, err := checkpoint.DecodeEpochs("f", []byte(text)); !errors.Is(err, checkpoint.ErrCorrupt) {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, text := range []string{"", "version: 1\ntopic_id: Ws1Ccn9RSnWMlLJ-P0U9xQ", "version: 0\n", "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAA", "version: 0\ntopic_id: W"} {
		if _, err := checkpoint.DecodePartitionMetadata("f", []byte(text)); !errors.Is(err, checkpoint.ErrCorrupt) {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, text := range []string{"garbage\x00\xff", "version=2\n", "version=x\n", "broker.id=-3\n", "broker.id=a\n", "version=1\nnode.id=99999999999\n"} {
		if _, err := checkpoint.DecodeMeta("f", []byte(text)); !errors.Is(err, checkpoint.ErrCorrupt) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if m, err := checkpoint.DecodeMeta("f", []byte("version=1\nnode.id=4\ncluster.id=c\n")); err != nil || m.Version != 1 || m.BrokerID != 4 {
		t.Errorf("KRaft's: %+v, %v", m, err)
	}
}

func TestCorruptSnapshot(t *testing.T) {
	good := checkpoint.EncodeSnapshot(make([]checkpoint.Producer, 2))
	for i := range good {
		if _, err := checkpoint.DecodeSnapshot("f", good[:i]); !errors.Is(err, checkpoint.ErrCorrupt) {
			t.Errorf("cut to %d: %v", i, err)
		}
		bad := bytes.Clone(good)
		bad[i]++
		if _, err := checkpoint.DecodeSnapshot("f", bad); !errors.Is(err, checkpoint.ErrCorrupt) {
			t.Errorf("byte %d: %v", i, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("0\n1\na 0 4\n"))
	f.Add([]byte("0\n2\n0 0\n1 7\n"))
	f.Add([]byte("version: 0\ntopic_id: Ws1Ccn9RSnWMlLJ-P0U9xQ"))
	f.Add(checkpoint.EncodeMeta(checkpoint.Meta{BrokerID: 1, ClusterID: "x"}, time.Unix(0, 0)))
	f.Add(checkpoint.EncodeSnapshot(make([]checkpoint.Producer, 2)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if offsets, err := checkpoint.DecodeOffsets("f", b); err == nil {
			again, err := checkpoint.DecodeOffsets("f", checkpoint.EncodeOffsets(offsets))
			if err != nil || !reflect.DeepEqual(again, offsets) {
				t.Errorf("%v, %v: %v", offsets, again, err)
			}
		}
		if epochs, err := checkpoint.DecodeEpochs("f", b); err == nil {
			if again, err := checkpoint.DecodeEpochs("f", checkpoint.EncodeEpochs(epochs)); err != nil || !reflect.DeepEqual(again, epochs) {
				t.Errorf("%v, %v: %v", epochs, again, err)
			}
		}
		if id, err := checkpoint.DecodePartitionMetadata("f", b); err == nil && !bytes.HasPrefix(b, checkpoint.EncodePartitionMetadata(id)) {
			t.Errorf("%s from %q", id, b)
		}
		if m, err := checkpoint.DecodeMeta("f", b); err == nil {
			if again, err := checkpoint.DecodeMeta("f", checkpoint.EncodeMeta(m, time.Unix(0, 0))); err != nil || again != m {
				t.Errorf("%+v, %+v: %v", m, again, err)
			}
		}
		if p, err := checkpoint.DecodeSnapshot("f", b); err == nil && !bytes.Equal(checkpoint.EncodeSnapshot(p), b) {
			t.Errorf("%+v from %x", p, b)
		}
	})
}

func syncFile(t *testing.T, fs vfs.FS, name string) {
	t.Helper()
	f, err := fs.OpenReadWrite(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), f.Close(), fs.SyncDir(".")); err != nil {
		t.Fatal(err)
	}
}
