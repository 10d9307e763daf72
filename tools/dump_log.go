package tools

import (
	"strings"

	"github.com/spf13/cobra"

	"barnabas/internal/vfs"
	"barnabas/protocol/grouplog"
	"barnabas/tools/dumplog"
)

func (t *tool) dumpLogCommand() *cobra.Command {
	var files, keyClass, valueClass string
	var offsets bool
	o := dumplog.Options{}
	cmd := &cobra.Command{
		Use:   "dump-log",
		Short: "Print what log, index and snapshot files hold",
		Long:  "Print what the files of a partition hold. The broker need not run.\nFlags and output are those of kafka-dump-log.sh.",
		Example: `  barnabas dump-log --files barnabas-data/broker-0/orders-0/00000000000000000000.log --print-data-log
  barnabas dump-log --files 00000000000000000000.index,00000000000000000000.timeindex`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			if files == "" {
				return usagef(`Missing required argument "[files]"`)
			}
			o.Files = strings.Split(files, ",")
			for _, c := range []struct {
				class string
				to    *dumplog.Decoder
			}{{keyClass, &o.KeyDecoder}, {valueClass, &o.ValueDecoder}} {
				var err error
				if c.class == "" {
					continue
				}
				if *c.to, err = dumplog.DecoderOf(c.class); err != nil {
					return usagef("%v", err)
				}
			}
			if offsets {
				o.OffsetsDecoder = grouplog.DumpText
			}
			return dumplog.Run(vfs.OS, t.out, t.err, o)
		},
	}
	p := cmd.Flags()
	p.StringVar(&files, "files", "", "the files to print, comma separated")
	p.BoolVar(&o.PrintDataLog, "print-data-log", false, "print keys, values and headers of records")
	p.BoolVar(&o.DeepIteration, "deep-iteration", false, "print each record, not only batches")
	for _, c := range []struct {
		name, of string
		class    *string
	}{{"key-decoder-class", "keys", &keyClass}, {"value-decoder-class", "values", &valueClass}} {
		p.StringVar(c.class, c.name, "", "how "+c.of+" are read: StringDecoder, LongDecoder, IntegerDecoder or DefaultDecoder (hexadecimal), with or without Java package")
	}
	p.BoolVar(&offsets, "offsets-decoder", false, "read records of __consumer_offsets")
	p.BoolVar(&o.TransactionLogDecoder, "transaction-log-decoder", false, "read records of __transaction_state")
	p.BoolVar(&o.IndexSanityCheck, "index-sanity-check", false, "only check whether indexes are sound")
	p.BoolVar(&o.VerifyIndexOnly, "verify-index-only", false, "check indexes against their log and print nothing else")
	p.BoolVar(&o.SkipRecordMetadata, "skip-record-metadata", false, "with --print-data-log: leave out offsets and the like")
	p.IntVar(&o.MaxMessageSize, "max-message-size", 5<<20, "the largest batch expected, in bytes")
	p.Int64Var(&o.MaxBytes, "max-bytes", 0, "stop after so many bytes of each .log file (default: read all)")
	return cmd
}
