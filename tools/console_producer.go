package tools

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"
)

func (t *tool) consoleProducerCommand() *cobra.Command {
	f := &clientFlags{}
	var topic, acks, codec, brokerList, readerConfig string
	var reader []string
	var sync bool
	cmd := &cobra.Command{
		Use:   "console-producer",
		Short: "Send lines of standard input as records",
		Long:  "Send each line of standard input as a record.\nFlags are those of kafka-console-producer.sh.",
		Example: `  echo hello | barnabas console-producer --topic greetings
  barnabas console-producer --topic orders --property parse.key=true --property key.separator=: < orders.txt
  echo hello | barnabas console-producer --zookeeper zk1:2181,zk2:2181/kafka --topic greetings
  barnabas console-producer --topic t --property parse.headers=true    # header:value,header:value<TAB>text`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if topic == "" {
				return usagef(`Missing required argument "[topic]"`)
			}
			r, err := newLineReader(readerConfig, reader)
			if err != nil {
				return err
			}
			if f.bootstrap == "" {
				f.bootstrap = brokerList
			}
			props, err := f.load()
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("request-required-acks") {
				props["acks"] = acks
			}
			if codec != "" {
				props["compression.type"] = codec
			}
			timeout, _ := cmd.Flags().GetInt64("timeout")
			if _, set := props["linger.ms"]; !set && !sync {
				props["linger.ms"] = fmt.Sprint(timeout)
			}
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			cl, err := t.connect(ctx, f, props, kgo.DefaultProduceTopic(topic), kgo.AllowAutoTopicCreation())
			if err != nil {
				return err
			}
			defer cl.Close()
			return t.produceLines(ctx, cl, r, sync)
		},
	}
	f.register(cmd, "producer.config")
	p := cmd.Flags()
	p.StringVar(&topic, "topic", "", "the topic to send to")
	p.StringVar(&f.zookeeper, "zookeeper", "", "find the brokers in ZooKeeper, host:port,host:port/chroot, instead of by --bootstrap-server")
	p.StringVar(&brokerList, "broker-list", "", "old name of --bootstrap-server")
	p.StringArrayVar(&f.properties, "producer-property", nil, "a producer config, key=value; may be repeated")
	p.StringArrayVar(&reader, "property", nil, "how lines are read, key=value: parse.key, key.separator, parse.headers, headers.delimiter, headers.separator, headers.key.separator, null.marker, ignore.error")
	p.StringVar(&readerConfig, "reader-config", "", "a .properties file with such properties")
	p.BoolVar(&sync, "sync", false, "wait for each record before the next is sent")
	p.StringVar(&acks, "request-required-acks", "-1", "acks: -1 or all, 1, 0")
	p.StringVar(&codec, "compression-codec", "", "none, gzip, snappy, lz4 or zstd; without a value gzip")
	p.Lookup("compression-codec").NoOptDefVal = "gzip"
	p.Int64("timeout", 1000, "how many milliseconds records wait for others to go along")
	acceptInts(p, "batch-size", "max-block-ms", "max-memory-bytes", "max-partition-memory-bytes", "message-send-max-retries",
		"metadata-expiry-ms", "request-timeout-ms", "retry-backoff-ms", "socket-buffer-size")
	p.String("line-reader", "", "accepted; lines are read as Kafka's LineMessageReader does")
	return cmd
}

// produceLines sends until the input ends or a record fails.
func (t *tool) produceLines(ctx context.Context, cl *kgo.Client, r *lineReader, wait bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, 1) // the first record that could not be sent
	// Reading a terminal cannot be interrupted; a goroutine that is left reading
	// ends with the process.
	lines := make(chan *kgo.Record)
	done := make(chan error, 1)
	prompt := isTerminal(t.in)
	go func() {
		in := bufio.NewReaderSize(t.in, 64<<10)
		for {
			if prompt {
				fmt.Fprint(t.out, ">")
			}
			rec, err := r.next(in)
			if err != nil {
				done <- err
				return
			}
			select {
			case lines <- rec:
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		select {
		case err := <-failed:
			return err
		case <-ctx.Done():
			return flush(cl, failed)
		case err := <-done:
			if flushErr := flush(cl, failed); flushErr != nil {
				return flushErr
			}
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		case rec := <-lines:
			if wait {
				if err := cl.ProduceSync(ctx, rec).FirstErr(); err != nil {
					return fmt.Errorf("a record could not be sent: %w", explain(err))
				}
				continue
			}
			// Records that are under way outlive Ctrl-C: flush waits for them.
			cl.Produce(context.WithoutCancel(ctx), rec, func(_ *kgo.Record, err error) {
				if err != nil {
					select {
					case failed <- fmt.Errorf("a record could not be sent: %w", explain(err)):
					default:
					}
				}
			})
		}
	}
}

func flush(cl *kgo.Client, failed <-chan error) error {
	if err := cl.Flush(context.Background()); err != nil {
		return fmt.Errorf("the last records could not be sent: %w", explain(err))
	}
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

func isTerminal(r io.Reader) bool {
	f, ok := r.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && info.Name() != "null"
}

// lineReader makes records of lines as Kafka's LineMessageReader does.
type lineReader struct {
	parseKey, parseHeaders, ignoreError                bool
	keySeparator                                       []byte
	headersDelimiter, headerSeparator, headerKeySplits []byte
	nullMarker                                         []byte // nil: none
	line                                               int
}

func newLineReader(file string, properties []string) (*lineReader, error) {
	f := clientFlags{configFile: file, properties: properties}
	props, err := f.load()
	if err != nil {
		return nil, err
	}
	get := func(key, otherwise string) []byte {
		if v, ok := props[key]; ok {
			return []byte(v)
		}
		return []byte(otherwise)
	}
	is := func(key string) bool { return string(bytes.ToLower(bytes.TrimSpace(get(key, "")))) == "true" }
	r := &lineReader{
		parseKey: is("parse.key"), parseHeaders: is("parse.headers"), ignoreError: is("ignore.error"),
		keySeparator: get("key.separator", "\t"), headersDelimiter: get("headers.delimiter", "\t"),
		headerSeparator: get("headers.separator", ","), headerKeySplits: get("headers.key.separator", ":"),
	}
	if v, ok := props["null.marker"]; ok {
		r.nullMarker = []byte(v)
	}
	for _, pair := range [][2][]byte{{r.headersDelimiter, r.headerSeparator}, {r.headersDelimiter, r.headerKeySplits}, {r.headerSeparator, r.headerKeySplits}} {
		if bytes.Equal(pair[0], pair[1]) {
			return nil, usagef("headers.delimiter, headers.separator and headers.key.separator must differ from each other")
		}
	}
	return r, nil
}

// next reads one record; io.EOF ends them.
func (r *lineReader) next(in *bufio.Reader) (*kgo.Record, error) {
	text, err := in.ReadBytes('\n')
	if err != nil && len(text) == 0 {
		return nil, err
	}
	r.line++
	text = bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
	rec := &kgo.Record{}
	rest := text
	if r.parseHeaders {
		var headers []byte
		if headers, rest, err = r.cut(rest, r.headersDelimiter, "headers delimiter"); err != nil {
			return nil, err
		}
		if rec.Headers, err = r.headers(headers); err != nil {
			return nil, err
		}
	}
	if r.parseKey {
		if rec.Key, rest, err = r.cut(rest, r.keySeparator, "key separator"); err != nil {
			return nil, err
		}
	}
	rec.Key, rec.Value = r.orNull(rec.Key), r.orNull(rest)
	return rec, nil
}

// cut splits at the first separator; without one the line is an error, or, with
// ignore.error, all value.
func (r *lineReader) cut(text, separator []byte, name string) (before, after []byte, err error) {
	before, after, found := bytes.Cut(text, separator)
	switch {
	case found:
		return before, after, nil
	case r.ignoreError:
		return nil, text, nil
	}
	return nil, nil, fmt.Errorf("No %s found on line number %d: '%s'", name, r.line, text) //nolint:staticcheck // Kafka's words
}

func (r *lineReader) headers(text []byte) ([]kgo.RecordHeader, error) {
	if len(text) == 0 {
		return nil, nil
	}
	var out []kgo.RecordHeader
	for pair := range bytes.SplitSeq(text, r.headerSeparator) {
		key, value, found := bytes.Cut(pair, r.headerKeySplits)
		if !found && !r.ignoreError {
			return nil, fmt.Errorf("No header key separator found in pair '%s' on line number %d", pair, r.line) //nolint:staticcheck // Kafka's words
		}
		if r.nullMarker != nil && bytes.Equal(key, r.nullMarker) {
			return nil, fmt.Errorf("Header keys should not be equal to the null marker '%s' as they can't be null", r.nullMarker) //nolint:staticcheck // Kafka's words
		}
		out = append(out, kgo.RecordHeader{Key: string(key), Value: r.orNull(value)})
	}
	return out, nil
}

func (r *lineReader) orNull(b []byte) []byte {
	if r.nullMarker != nil && bytes.Equal(b, r.nullMarker) {
		return nil
	}
	return b
}
