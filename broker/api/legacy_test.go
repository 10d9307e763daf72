package api

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/broker/replica"
	"barnabas/cluster"
	"barnabas/conf"
	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
	"barnabas/log/batch"
	"barnabas/protocol"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// oldWrapper is a compressed message of format 1 around set.
func oldWrapper(t testing.TB, codec batch.Codec, offset int64, set []byte) []byte {
	t.Helper()
	value, err := batch.NewCodecs(batch.Limits{}).Compress(codec, batch.DefaultLevel, nil, set)
	if err != nil {
		t.Fatal(err)
	}
	b := binary.BigEndian.AppendUint64(nil, uint64(offset))
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0, 1, byte(codec), 0, 0, 0, 0, 0, 0, 0, 9, 0xff, 0xff, 0xff, 0xff)
	b = append(binary.BigEndian.AppendUint32(b, uint32(len(value))), value...)
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	binary.BigEndian.PutUint32(b[12:], crc32.ChecksumIEEE(b[16:]))
	return b
}

// Message sets that Apache Kafka took in Produce requests of versions 2 and 1.
const (
	setV1 = "000000000000000000000018553b6ce80100000001a1fb981fdf000000016b00000001760000000000000001000000187a66e7e20100000001a1fb981fe0000000026b32ffffffff"
	setV0 = "0000000000000000000000101fecd70a0000000000016b0000000176000000000000000100000010d5960a780000ffffffff000000027632"
)

// fieldOf is the raw record field of a partition's answer.
func fieldOf(c *client, req *kmsg.FetchRequest) (protocol.Error, []byte) {
	c.t.Helper()
	p := call[*kmsg.FetchResponse](c, req).Topics[0].Partitions[0]
	return protocol.Error(p.ErrorCode), p.RecordBatches
}

// TestOldFormats repeats the conversation of golden/answers 04 and 05 with Apache
// Kafka: what old clients send, and what they and new ones get.
func TestOldFormats(t *testing.T) {
	b := realBroker(t)
	c := b.dial()
	one, two := unhex(t, setV1), unhex(t, setV0)
	bad := bytes.Clone(one)
	bad[len(bad)-1]++
	wrapper := oldWrapper(t, batch.Gzip, 1, one)
	next := int64(0)
	for _, tc := range []struct {
		name    string
		version int16
		records []byte
		want    protocol.Error
		count   int64
	}{
		{"v2 magic1", 2, one, protocol.None, 2},
		{"v1 magic0", 1, two, protocol.None, 2},
		{"v0 magic0", 0, two[:28], protocol.None, 1},
		{"v2 magic2", 2, records(t, 1, plain()), protocol.None, 1},
		{"v2 magic1 gzip wrapper", 2, wrapper, protocol.None, 2},
		{"v2 magic1 two gzip wrappers", 2, append(bytes.Clone(wrapper), wrapper...), protocol.InvalidRecord, 0},
		{"v2 magic1 bad crc", 2, bad, protocol.CorruptMessage, 0},
		{"v3 magic1", 3, one, protocol.InvalidRecord, 0},
		{"v3 magic0", 3, two, protocol.InvalidRecord, 0},
		{"v1 magic1, not asked for", 1, one, protocol.None, 2},
		{"a part more", 2, append(bytes.Clone(one), one[:20]...), protocol.None, 2},
	} {
		p := call[*kmsg.ProduceResponse](c, produceRequest(tc.version, 1, toProduce{"a", 0, tc.records})).Topics[0].Partitions[0]
		want := next
		if tc.count == 0 {
			want = -1
		}
		if protocol.Error(p.ErrorCode) != tc.want || p.BaseOffset != want || p.LogAppendTime != -1 {
			t.Errorf("%s: got %v, %+v, want %v at %d", tc.name, protocol.Error(p.ErrorCode), p, tc.want, want)
		}
		next += tc.count
	}
	for _, recs := range [][]byte{{}, one[:30], one[:5]} {
		p := call[*kmsg.ProduceResponse](c, produceRequest(2, 1, toProduce{"a", 0, recs})).Topics[0].Partitions[0]
		if p.ErrorCode != 0 || p.BaseOffset != -1 {
			t.Errorf("%d bytes: %+v", len(recs), p)
		}
	}

	_, stored := fieldOf(c, fetchRequest(4, 0, toFetch{"a", idA, 0, 0}))
	for version, want := range map[int16]string{
		0: "0000000000000000000000101fecd70a0000000000016b00000001760000000000000001000000108b23e3da0000000000026b32ffffffff0000000000000002000000101fecd70a0000000000016b0000000176000000000000000300000010d5960a780000ffffffff0000000276320000000000000004000000101fecd70a0000000000016b0000000176",
		2: "000000000000000000000018553b6ce80100000001a1fb981fdf000000016b00000001760000000000000001000000187a66e7e20100000001a1fb981fe0000000026b32ffffffff000000000000000200000018b82b07240100ffffffffffffffff000000016b00000001760000000000000003000000187251da560100ffffffffffffffffffffffff000000027632000000000000000400000018b82b07240100ffffffffffffffff000000016b0000000176",
	} {
		for v := version; v < version+2; v++ {
			err, got := fieldOf(c, fetchRequest(v, 0, toFetch{"a", idA, 0, 0}))
			if err != protocol.None || len(got) != len(stored) || !bytes.HasPrefix(got, unhex(t, want)) {
				t.Errorf("version %d: %v, %d bytes of %d: %x", v, err, len(got), len(stored), got)
			}
			var offsets []int64
			for rest := got; len(rest) > 8 && rest[0] == 0; {
				h, whole, more, err := batch.Next(rest)
				if err != nil {
					t.Fatal(err)
				}
				for r, err := range batch.Records(whole, batch.NewCodecs(batch.Limits{})) {
					if err != nil || h.Magic != int8(version/2) {
						t.Fatal(err, h.Magic)
					}
					offsets = append(offsets, r.Offset)
				}
				rest = more
			}
			for i, o := range offsets {
				if o != int64(i) {
					t.Fatalf("version %d: offsets %v", v, offsets)
				}
			}
			if int64(len(offsets)) != next {
				t.Errorf("version %d: %d records, want %d", v, len(offsets), next)
			}
		}
	}
}

// TestOldFetchLimits: up to version 2 nobody gets more than asked for, and what
// is not whole can't be converted.
func TestOldFetchLimits(t *testing.T) {
	b := newBroker(t)
	b.produce("a", 0, 100, 100)
	b.produce("a", 1, 100)
	n := len(records(t, 100, plain()))
	for _, tc := range []struct {
		version       int16
		max           int32
		first, second int
	}{
		{0, 1 << 20, 2 * n, n},
		{0, 10, 0, 0},
		{2, 10, 0, 0},
		{2, int32(n - 1), 0, 0},
		{2, int32(n + 1), n + 1, n},
		{3, 10, n, 0},
		{3, int32(n + 1), n + 1, n},
	} {
		req := fetchRequest(tc.version, 0, toFetch{"a", idA, 0, 0}, toFetch{"a", idA, 1, 0})
		for i := range req.Topics {
			req.Topics[i].Partitions[0].PartitionMaxBytes = tc.max
		}
		p := call[*kmsg.FetchResponse](b.dial(), req).Topics[0].Partitions
		if len(p[0].RecordBatches) != tc.first || len(p[1].RecordBatches) != tc.second || p[0].ErrorCode != 0 {
			t.Errorf("version %d, %d bytes: got %d and %d bytes, want %d and %d", tc.version, tc.max, len(p[0].RecordBatches), len(p[1].RecordBatches), tc.first, tc.second)
		}
	}
}

// TestOldFetchErrors: what old clients can't have. Records are never null then:
// librdkafka can't read that.
func TestOldFetchErrors(t *testing.T) {
	codecs := batch.NewCodecs(batch.Limits{})
	zstd := records(t, 100, batch.BuilderOptions{Codec: batch.Zstd, Codecs: codecs})
	damaged := records(t, 100, plain())
	damaged[len(damaged)-1]++
	for _, tc := range []struct {
		name     string
		version  int16
		topic    map[string]string
		defaults conf.Topic
		stored   []byte
		want     protocol.Error
	}{
		{"zstd by the topic", 3, map[string]string{"compression.type": "zstd"}, conf.Topic{DownConversion: true}, nil, protocol.UnsupportedCompressionType},
		{"zstd by the topic", 9, map[string]string{"compression.type": "zstd"}, conf.Topic{DownConversion: true}, nil, protocol.UnsupportedCompressionType},
		{"zstd by the topic, new client", 10, map[string]string{"compression.type": "zstd"}, conf.Topic{DownConversion: true}, nil, protocol.None},
		{"zstd by the broker", 0, nil, conf.Topic{CompressionType: "zstd", DownConversion: true}, nil, protocol.UnsupportedCompressionType},
		{"zstd by the broker, not the topic", 0, map[string]string{"compression.type": "gzip"}, conf.Topic{CompressionType: "zstd", DownConversion: true}, nil, protocol.None},
		{"zstd by the producer", 3, nil, conf.Topic{DownConversion: true}, zstd, protocol.UnsupportedCompressionType},
		{"zstd by the producer", 4, nil, conf.Topic{DownConversion: true}, zstd, protocol.None},
		{"no conversion by the topic", 3, map[string]string{"message.downconversion.enable": "False "}, conf.Topic{DownConversion: true}, nil, protocol.UnsupportedVersion},
		{"no conversion by the broker", 0, nil, conf.Topic{}, nil, protocol.UnsupportedVersion},
		{"no conversion by the broker, but by the topic", 0, map[string]string{"message.downconversion.enable": "true"}, conf.Topic{}, nil, protocol.None},
		{"no conversion, none needed", 4, map[string]string{"message.downconversion.enable": "false"}, conf.Topic{}, nil, protocol.None},
		{"damage", 2, nil, conf.Topic{DownConversion: true}, damaged, protocol.CorruptMessage},
		{"damage is the new client's to see", 4, nil, conf.Topic{DownConversion: true}, damaged, protocol.None},
	} {
		b := newBroker(t)
		e := cluster.NewEdit(image())
		e.ReadConfig("a", tc.topic, 8, 1)
		im, _ := e.Publish()
		b.api.opt.Image = func() *cluster.Image { return im }
		b.api.opt.Config = func() *conf.Config { return &conf.Config{Topics: conf.Topics{Defaults: tc.defaults}} }
		stored := tc.stored
		if stored == nil {
			stored = records(t, 100, plain())
		}
		if _, err := b.rep.Append(kafka.TopicPartition{Topic: "a"}, stored, 1, 0); err != nil {
			t.Fatal(err)
		}
		p := call[*kmsg.FetchResponse](b.dial(), fetchRequest(tc.version, 60_000, toFetch{"a", idA, 0, 0})).Topics[0].Partitions[0]
		if protocol.Error(p.ErrorCode) != tc.want || (tc.want == protocol.None) != (len(p.RecordBatches) > 0) || (p.HighWatermark == -1) != (tc.want != protocol.None) {
			t.Errorf("%s, version %d: got %v, %+v, want %v", tc.name, tc.version, protocol.Error(p.ErrorCode), p, tc.want)
		}
		if p.RecordBatches == nil {
			t.Errorf("%s, version %d: records are null", tc.name, tc.version)
		}
	}
}

// TestOldFetchReleases: each range is given back, whatever becomes of it, also
// when what is parked is woken.
func TestOldFetchReleases(t *testing.T) {
	b := newBroker(t)
	counted := &countingReplicas{replicas: b.rep}
	b.api.opt.Replicas = counted
	b.produce("a", 0, 100, 100_000)
	b.produce("a", 1, 100)
	c := b.dial()
	for version := int16(0); version < 5; version++ {
		call[*kmsg.FetchResponse](c, fetchRequest(version, 0, toFetch{"a", idA, 0, 0}, toFetch{"a", idA, 1, 0}))
	}
	req := fetchRequest(2, 60_000, toFetch{"a", idA, 2, 0})
	req.MinBytes = 100
	c.send(req)
	await(t, func() bool { return b.rep.fetches.Len() == 1 })
	b.produce("a", 2, 200)
	if got := receive[*kmsg.FetchResponse](c, req).Topics[0].Partitions[0].RecordBatches; len(got) != len(records(t, 200, plain())) {
		t.Errorf("%d bytes after a wait", len(got))
	}
	await(t, func() bool {
		b.rep.mu.Lock()
		defer b.rep.mu.Unlock()
		return counted.given > 10 && counted.given == counted.back
	})
}

// countingReplicas counts the ranges that are out.
type countingReplicas struct {
	*replicas
	given, back int // guarded by replicas.mu
}

func (r *countingReplicas) Read(a *replica.ReadArgs) (replica.Data, error) {
	d, err := r.replicas.Read(a)
	if d.Records.Length == 0 {
		return d, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.given++
	d.Records = vfs.Range{File: d.Records.File, Offset: d.Records.Offset, Length: d.Records.Length, OnRelease: func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.back++
	}}
	return d, err
}

// TestOldProduceOfGarbage: no bytes end the process, and all are answered.
func TestOldProduceOfGarbage(t *testing.T) {
	b := realBroker(t)
	c := b.dial()
	one := unhex(t, setV1)
	for i := range one {
		for _, v := range []byte{0, 1, 0x7f, 0x80, 0xff} {
			g := bytes.Clone(one)
			g[i] = v
			call[*kmsg.ProduceResponse](c, produceRequest(2, 1, toProduce{"a", 0, g}))
		}
	}
	bomb := oldWrapper(t, batch.Gzip, 0, []byte(strings.Repeat("\x00", 20<<20)))
	p := call[*kmsg.ProduceResponse](c, produceRequest(2, 1, toProduce{"a", 0, bomb})).Topics[0].Partitions[0]
	if p.ErrorCode == 0 {
		t.Errorf("a bomb is stored: %+v", p)
	}
}
