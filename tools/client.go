package tools

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"barnabas/client"
	"barnabas/conf"
	"barnabas/zkpaths/session"
)

// clientFlags is what every client command has: where to connect, and
// properties in Kafka's names.
type clientFlags struct {
	bootstrap  string
	zookeeper  string // finds the brokers instead
	configFile string
	properties []string // key=value, stronger than the file
}

const defaultBootstrap = "localhost:9092"

// register adds --bootstrap-server and the flag that names a properties file,
// which Kafka's tools call differently.
func (f *clientFlags) register(cmd *cobra.Command, fileFlag string) {
	cmd.Flags().StringVar(&f.bootstrap, "bootstrap-server", "", "the brokers to connect to first, host:port,host:port (default "+defaultBootstrap+")")
	if fileFlag != "" {
		cmd.Flags().StringVar(&f.configFile, fileFlag, "", "a .properties file with client configs in Kafka's names")
	}
}

// load merges the file and the single properties.
func (f *clientFlags) load() (map[string]string, error) {
	props := map[string]string{}
	if f.configFile != "" {
		var err error
		if props, err = conf.ReadProperties(f.configFile); err != nil {
			return nil, err
		}
	}
	for _, p := range f.properties {
		k, v, ok := strings.Cut(p, "=")
		if !ok || k == "" {
			return nil, usagef("invalid property %q: it has to be key=value", p)
		}
		props[k] = v
	}
	return props, nil
}

// dial is how most commands begin: a client with the properties of the flags, and a
// context that an interrupt ends. done ends both.
func (t *tool) dial(ctx context.Context, f *clientFlags, more ...kgo.Opt) (_ context.Context, cl *kgo.Client, done func(), err error) {
	props, err := f.load()
	if err != nil {
		return nil, nil, nil, err
	}
	ctx, stop := interruptible(ctx)
	if cl, err = t.connect(ctx, f, props, more...); err != nil {
		stop()
		return nil, nil, nil, err
	}
	return ctx, cl, func() { cl.Close(); stop() }, nil
}

// connect makes a client and makes sure that a broker answers, so that a wrong
// address is told of in seconds and not after a client's patience.
func (t *tool) connect(ctx context.Context, f *clientFlags, props map[string]string, more ...kgo.Opt) (*kgo.Client, error) {
	opts, unknown, err := clientOptions(props)
	if err != nil {
		return nil, err
	}
	for _, k := range unknown {
		fmt.Fprintf(t.err, "barnabas: the property %s is not used by this tool\n", k)
	}
	cl, servers, err := f.newClient(ctx, props, append(opts, more...))
	if err != nil {
		return nil, err
	}
	ping, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := cl.Ping(ping); err != nil {
		cl.Close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("no broker answers at %s: %w\nIs one running there? --bootstrap-server says where to look; \"barnabas dev\" starts one", servers, err)
	}
	return cl, nil
}

// newClient makes a client of the brokers that the flags name, or that ZooKeeper
// has; servers says where it looks.
func (f *clientFlags) newClient(ctx context.Context, props map[string]string, opts []kgo.Opt) (cl *kgo.Client, servers string, err error) {
	if f.zookeeper != "" {
		if f.bootstrap != "" {
			return nil, "", usagef("--zookeeper finds the brokers; leave --bootstrap-server out")
		}
		cl, err = client.New(ctx, client.Options{ZooKeeper: f.zookeeper}, opts...)
		if errors.Is(err, client.ErrNoBroker) || errors.Is(err, session.ErrNoNode) {
			err = fmt.Errorf("%w\nDo host, port and path equal the brokers' zookeeper.connect?", err)
		}
		return cl, "the addresses that ZooKeeper has", err
	}
	if servers = f.bootstrap; servers == "" {
		servers = props["bootstrap.servers"]
	}
	if servers == "" {
		servers = defaultBootstrap
	}
	if cl, err = kgo.NewClient(append(opts, kgo.SeedBrokers(strings.Split(servers, ",")...))...); err != nil {
		return nil, "", usageError{err}
	}
	return cl, servers, nil
}

// clientOptions maps Kafka's client configs to franz-go's; unknown are those
// without a counterpart.
func clientOptions(props map[string]string) (opts []kgo.Opt, unknown []string, err error) {
	opts = []kgo.Opt{kgo.ClientID("barnabas"), kgo.DialTimeout(5 * time.Second), kgo.MetadataMinAge(100 * time.Millisecond)}
	idempotent := true
	for _, k := range slices.Sorted(maps.Keys(props)) {
		v := strings.TrimSpace(props[k])
		var opt kgo.Opt
		switch k {
		case "bootstrap.servers", "group.id", "key.serializer", "value.serializer", "key.deserializer", "value.deserializer", "enable.auto.commit", "allow.auto.create.topics":
			continue // the commands read these, or they say nothing here
		case "security.protocol":
			if !strings.EqualFold(v, "PLAINTEXT") {
				return nil, nil, fmt.Errorf("security.protocol=%s is not built yet; PLAINTEXT is", v)
			}
			continue
		case "client.id":
			opt = kgo.ClientID(v)
		case "client.rack":
			opt = kgo.Rack(v)
		case "transactional.id":
			opt = kgo.TransactionalID(v)
		case "acks":
			var acks kgo.Acks
			switch v {
			case "0":
				acks = kgo.NoAck()
			case "1":
				acks = kgo.LeaderAck()
			case "all", "-1":
				acks = kgo.AllISRAcks()
			default:
				return nil, nil, usagef("acks=%s: allowed are all (or -1), 1 and 0", v)
			}
			opt = kgo.RequiredAcks(acks)
			idempotent = idempotent && (v == "all" || v == "-1")
		case "enable.idempotence":
			idempotent = idempotent && strings.EqualFold(v, "true")
			continue
		case "compression.type":
			codec, ok := codecs()[v]
			if !ok {
				return nil, nil, usagef("compression.type=%s: allowed are none, gzip, snappy, lz4 and zstd", v)
			}
			opt = kgo.ProducerBatchCompression(codec)
		case "auto.offset.reset":
			opt = kgo.ConsumeResetOffset(resetOffset(v))
		case "isolation.level":
			level := kgo.ReadUncommitted()
			if v == "read_committed" {
				level = kgo.ReadCommitted()
			}
			opt = kgo.FetchIsolationLevel(level)
		case "partition.assignment.strategy":
			opt = kgo.Balancers(balancers(v)...)
		default:
			if opt, err = numberOption(k, v); err != nil {
				return nil, nil, err
			}
		}
		if opt == nil {
			unknown = append(unknown, k)
			continue
		}
		opts = append(opts, opt)
	}
	if !idempotent {
		opts = append(opts, kgo.DisableIdempotentWrite())
	}
	return opts, unknown, nil
}

// numberOption maps the configs whose values are numbers; nil for other keys.
func numberOption(k, v string) (kgo.Opt, error) {
	ms := func(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
	make := map[string]func(n int64) kgo.Opt{
		"linger.ms":                 func(n int64) kgo.Opt { return kgo.ProducerLinger(ms(n)) },
		"batch.size":                func(n int64) kgo.Opt { return kgo.ProducerBatchMaxBytes(int32(n)) },
		"retries":                   func(n int64) kgo.Opt { return kgo.RecordRetries(int(n)) },
		"delivery.timeout.ms":       func(n int64) kgo.Opt { return kgo.RecordDeliveryTimeout(ms(n)) },
		"request.timeout.ms":        func(n int64) kgo.Opt { return kgo.ProduceRequestTimeout(ms(n)) },
		"metadata.max.age.ms":       func(n int64) kgo.Opt { return kgo.MetadataMaxAge(ms(n)) },
		"fetch.min.bytes":           func(n int64) kgo.Opt { return kgo.FetchMinBytes(int32(n)) },
		"fetch.max.bytes":           func(n int64) kgo.Opt { return kgo.FetchMaxBytes(int32(n)) },
		"max.partition.fetch.bytes": func(n int64) kgo.Opt { return kgo.FetchMaxPartitionBytes(int32(n)) },
		"fetch.max.wait.ms":         func(n int64) kgo.Opt { return kgo.FetchMaxWait(ms(n)) },
		"session.timeout.ms":        func(n int64) kgo.Opt { return kgo.SessionTimeout(ms(n)) },
		"heartbeat.interval.ms":     func(n int64) kgo.Opt { return kgo.HeartbeatInterval(ms(n)) },
		"auto.commit.interval.ms":   func(n int64) kgo.Opt { return kgo.AutoCommitInterval(ms(n)) },
		"max.in.flight.requests.per.connection": func(n int64) kgo.Opt {
			return kgo.MaxProduceRequestsInflightPerBroker(int(n))
		},
		"buffer.memory": func(n int64) kgo.Opt { return kgo.MaxBufferedBytes(int(n)) },
	}[k]
	if make == nil {
		return nil, nil
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < 0 {
		return nil, usagef("%s=%s: it has to be a whole number, 0 or more", k, v)
	}
	return make(n), nil
}

func codecs() map[string]kgo.CompressionCodec {
	return map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(),
		"snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}
}

func resetOffset(v string) kgo.Offset {
	switch v {
	case "earliest":
		return kgo.NewOffset().AtStart()
	case "none":
		return kgo.NoResetOffset()
	}
	return kgo.NewOffset().AtEnd()
}

// balancers maps Java's assignors; unknown ones are left out.
func balancers(classes string) []kgo.GroupBalancer {
	var out []kgo.GroupBalancer
	for c := range strings.SplitSeq(classes, ",") {
		switch name := c[strings.LastIndexByte(c, '.')+1:]; strings.TrimSpace(name) {
		case "RangeAssignor":
			out = append(out, kgo.RangeBalancer())
		case "RoundRobinAssignor":
			out = append(out, kgo.RoundRobinBalancer())
		case "StickyAssignor":
			out = append(out, kgo.StickyBalancer())
		case "CooperativeStickyAssignor":
			out = append(out, kgo.CooperativeStickyBalancer())
		}
	}
	if len(out) == 0 {
		out = []kgo.GroupBalancer{kgo.RangeBalancer()}
	}
	return out
}

// kafkaError is the message that a broker gave, or that of its code.
func kafkaError(code int16, message *string) error {
	err := kerr.ErrorForCode(code)
	if err == nil || message == nil || *message == "" {
		return explain(err)
	}
	return &brokerError{*message, err}
}

// explain is an error code's description without franz-go's words.
func explain(err error) error {
	if e, ok := errors.AsType[*kerr.Error](err); ok {
		return &brokerError{e.Description, err}
	}
	return err
}

// brokerError has the broker's words and franz-go's identity.
type brokerError struct {
	message string
	code    error
}

func (e *brokerError) Error() string { return e.message }
func (e *brokerError) Unwrap() error { return e.code }
