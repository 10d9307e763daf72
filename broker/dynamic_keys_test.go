package broker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"barnabas/broker/admin"
	"barnabas/conf"
	"barnabas/internal/kafka"
	"barnabas/log"
	"barnabas/net/socket"
)

// effect is where a key's value shows in a running broker.
type effect struct {
	value string
	with  string // another config, key=value, without which it has none
	show  func(*Broker) any
	want  any
}

// dynamicEffects has each key that conf marks as built and to be changed while
// the broker runs.
func dynamicEffects() map[string]effect {
	options := func(f func(*log.Options) any) func(*Broker) any {
		return func(b *Broker) any {
			l, _ := b.logs.Get(kafka.TopicPartition{Topic: "t", Partition: 0})
			return f(l.Options())
		}
	}
	limits := func(f func(socket.Limits) any) func(*Broker) any {
		return func(b *Broker) any { return f(b.server.Limits()) }
	}
	cleaner := func(f func(log.CleanerOptions) any) func(*Broker) any {
		return func(b *Broker) any { return f(b.logs.Cleaner()) }
	}
	minute := time.Minute
	return map[string]effect{
		"message.max.bytes":                       {"2000", "", options(func(o *log.Options) any { return o.MaxMessageBytes }), 2000},
		"compression.type":                        {"snappy", "", options(func(o *log.Options) any { return fmt.Sprint(o.Codec, o.Recompress) }), "snappy true"},
		"compression.gzip.level":                  {"7", "compression.type=gzip", options(func(o *log.Options) any { return o.Level }), 7},
		"compression.lz4.level":                   {"7", "compression.type=lz4", options(func(o *log.Options) any { return o.Level }), 7},
		"compression.zstd.level":                  {"7", "compression.type=zstd", options(func(o *log.Options) any { return o.Level }), 7},
		"log.segment.bytes":                       {"123456", "", options(func(o *log.Options) any { return o.SegmentBytes }), int64(123456)},
		"log.roll.ms":                             {"60000", "", options(func(o *log.Options) any { return o.SegmentAge }), minute},
		"log.roll.jitter.ms":                      {"60000", "", options(func(o *log.Options) any { return o.SegmentJitter }), minute},
		"log.retention.ms":                        {"60000", "", options(func(o *log.Options) any { return o.RetentionAge }), minute},
		"log.retention.bytes":                     {"5000", "", options(func(o *log.Options) any { return o.RetentionBytes }), int64(5000)},
		"log.cleanup.policy":                      {"compact", "", options(func(o *log.Options) any { return fmt.Sprint(o.Compact, o.Delete) }), "true false"},
		"log.index.size.max.bytes":                {"800", "", options(func(o *log.Options) any { return o.IndexMaxBytes }), 800},
		"log.index.interval.bytes":                {"99", "", options(func(o *log.Options) any { return o.IndexIntervalBytes }), 99},
		"log.flush.interval.messages":             {"5", "", options(func(o *log.Options) any { return o.FlushMessages }), int64(5)},
		"log.flush.interval.ms":                   {"60000", "", options(func(o *log.Options) any { return o.FlushInterval }), minute},
		"log.segment.delete.delay.ms":             {"1000", "", options(func(o *log.Options) any { return o.FileDeleteDelay }), time.Second},
		"log.preallocate":                         {"true", "", options(func(o *log.Options) any { return o.Preallocate }), true},
		"log.message.timestamp.type":              {"LogAppendTime", "", options(func(o *log.Options) any { return o.LogAppendTime }), true},
		"record.validation":                       {"full", "", options(func(o *log.Options) any { return o.Validation }), log.ValidateFull},
		"log.message.timestamp.before.max.ms":     {"60000", "", options(func(o *log.Options) any { return o.TimestampBeforeMax }), minute},
		"log.message.timestamp.after.max.ms":      {"60000", "", options(func(o *log.Options) any { return o.TimestampAfterMax }), minute},
		"log.message.timestamp.difference.max.ms": {"60000", "", options(func(o *log.Options) any { return o.TimestampAfterMax }), minute},
		"log.cleaner.min.cleanable.ratio":         {"0.25", "", options(func(o *log.Options) any { return o.MinCleanableRatio }), 0.25},
		"log.cleaner.delete.retention.ms":         {"60000", "", options(func(o *log.Options) any { return o.DeleteRetention }), minute},
		"log.cleaner.min.compaction.lag.ms":       {"60000", "", options(func(o *log.Options) any { return o.MinCompactionLag }), minute},
		"log.cleaner.max.compaction.lag.ms":       {"60000", "", options(func(o *log.Options) any { return o.MaxCompactionLag }), minute},
		"log.cleaner.threads":                     {"2", "", cleaner(func(o log.CleanerOptions) any { return o.Threads }), 2},
		"log.cleaner.io.max.bytes.per.second":     {"5000", "", cleaner(func(o log.CleanerOptions) any { return o.BytesPerSecond }), 5000.0},
		"log.cleaner.dedupe.buffer.size":          {"5000000", "", cleaner(func(o log.CleanerOptions) any { return o.DedupeBytes }), int64(5000000)},
		"log.cleaner.io.buffer.size":              {"70000", "", cleaner(func(o log.CleanerOptions) any { return o.IOBytes }), int64(70000)},
		"log.cleaner.io.buffer.load.factor":       {"0.5", "", cleaner(func(o log.CleanerOptions) any { return o.LoadFactor }), 0.5},
		"log.cleaner.backoff.ms":                  {"60000", "", cleaner(func(o log.CleanerOptions) any { return o.Backoff }), minute},
		"leader.replication.throttled.rate":       {"5000", "", func(b *Broker) any { return b.throttles.leader.Limit() }, int64(5000)},
		"follower.replication.throttled.rate":     {"5000", "", func(b *Broker) any { return b.throttles.follower.Limit() }, int64(5000)},
		// The copying asks before each piece, broker/api with each request, and the
		// controller at each election.
		"replica.alter.log.dirs.io.max.bytes.per.second": {"5000", "", func(b *Broker) any { return b.config.Load().Replication.LogDirsThrottle }, int64(5000)},
		"log.message.downconversion.enable":              {"false", "", func(b *Broker) any { return b.config.Load().Topics.Defaults.DownConversion }, false},
		"unclean.leader.election.enable":                 {"true", "", func(b *Broker) any { return b.config.Load().Controller.UncleanElection }, true},
		"min.insync.replicas": {"2", "", func(b *Broker) any {
			t, err := b.config.Load().Topic(nil)
			return fmt.Sprint(t.MinISR, err)
		}, "2 <nil>"},
		"max.connections":                  {"77", "", limits(func(l socket.Limits) any { return l.MaxConnections }), 77},
		"max.connections.per.ip":           {"77", "", limits(func(l socket.Limits) any { return l.MaxPerIP }), 77},
		"max.connections.per.ip.overrides": {"127.0.0.1:77", "", limits(func(l socket.Limits) any { return l.MaxPerIPOverrides["127.0.0.1"] }), 77},
		"max.connection.creation.rate":     {"77", "", limits(func(l socket.Limits) any { return l.Rate }), 77},
		"num.replica.fetchers":             {"2", "", func(b *Broker) any { return b.follower.Fetchers() }, 2},
		"producer.id.expiration.ms":        {"60000", "", func(b *Broker) any { return b.logs.ProducerIDExpiration() }, minute},
	}
}

// await waits until got is want.
func await(t *testing.T, what string, look func() (got, want any)) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); ; <-tick.C {
		got, want := look()
		if got == want {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %v, want %v", what, got, want)
		}
	}
}

// TestDynamicKeysTakeEffect changes each key that is marked as dynamic, looks for
// the effect, takes the change back, and looks that the effect is gone.
func TestDynamicKeysTakeEffect(t *testing.T) {
	effects := dynamicEffects()
	b, _ := begin(t)
	await(t, "the controller", func() (any, any) { return b.control.Active(), true })
	made := b.admin.CreateTopics(t.Context(), []admin.TopicSpec{{Name: "t", Partitions: 1, ReplicationFactor: 1}}, time.Minute, false)
	if made[0].Err != nil {
		t.Fatal(made[0].Err)
	}
	alter := func(op conf.Op, changes ...string) {
		t.Helper()
		a := admin.Alteration{Kind: admin.BrokerResource}
		for i := 0; i < len(changes); i += 2 {
			a.Changes = append(a.Changes, conf.Change{Op: op, Name: changes[i], Value: changes[i+1]})
		}
		if errs := b.admin.AlterConfigs(t.Context(), []admin.Alteration{a}, false); errs[0] != nil {
			t.Fatal(errs[0])
		}
	}
	for _, k := range conf.Keys() {
		e, listed := effects[k.Name]
		if dynamic := k.Mode != conf.ReadOnly && !k.AtStart && k.Status == conf.Built; dynamic != listed {
			t.Errorf("%s: is dynamic and built: %v; has a test: %v", k.Name, dynamic, listed)
		}
		if !listed {
			continue
		}
		before := e.show(b)
		changes := []string{k.Name, e.value}
		if e.with != "" {
			name, value, _ := strings.Cut(e.with, "=")
			changes = append(changes, name, value)
		}
		if before == e.want {
			t.Errorf("%s: %v already", k.Name, before)
		}
		alter(conf.Set, changes...)
		await(t, k.Name+" set", func() (any, any) { return e.show(b), e.want })
		alter(conf.Delete, changes...)
		await(t, k.Name+" deleted", func() (any, any) { return e.show(b), before })
		delete(effects, k.Name)
	}
	for name := range effects {
		t.Errorf("%s is no key", name)
	}
}
