package api

import (
	"errors"
	"strings"

	"barnabas/broker/replica"
	"barnabas/cluster"
	"barnabas/log/batch"
	"barnabas/log/downconvert"
	"barnabas/protocol"
)

// keepConverted is how many converted bytes an answer keeps from when its sizes
// are found out until they are sent, if there is memory for that; what is more is
// converted twice.
const keepConverted = 1 << 20

// minOne reports whether the first batch is sent whole however large. Clients
// before version 3 can't take more than they asked for (KIP-74).
func (f *fetch) minOne() bool { return f.from.Version >= 3 }

// refusesNone is the first version in which no topic is refused.
const refusesNone = 10

// refusesOld tells why a topic can't be read in an old version of Fetch, if it
// can't.
func (f *fetch) refusesOld(t *cluster.Topic) protocol.Error {
	v := f.from.Version
	if v >= refusesNone {
		return protocol.None
	}
	codec, convert := t.Config["compression.type"], t.Config["message.downconversion.enable"]
	if f.a.opt.Config != nil && (codec == "" || convert == "") {
		d := &f.a.opt.Config().Topics.Defaults
		if codec == "" {
			codec = d.CompressionType
		}
		if convert == "" && !d.DownConversion {
			convert = "false"
		}
	}
	switch {
	case codec == "zstd":
		return protocol.UnsupportedCompressionType
	case v < 4 && !f.follower && strings.EqualFold(strings.TrimSpace(convert), "false"):
		return protocol.UnsupportedVersion
	}
	return protocol.None
}

// convert turns what was read into what a client before version 4 understands:
// message format 0, from version 2 on 1.
func (f *fetch) convert() {
	if f.from.Version >= 4 {
		return
	}
	magic, from, kept := int8(0), f.from, int64(0)
	elements := int64(len(f.parts)) * fetchElement
	keep := func(n int64) (ok bool) {
		if kept+n <= keepConverted {
			if f.lease, ok = from.Extend(f.lease, elements+kept+n); ok {
				kept += n
			}
		}
		return ok
	}
	hold := func(n int64) (downconvert.Memory, error) { return from.Hold(n) }
	if f.from.Version >= 2 {
		magic = 1
	}
	for i := range f.parts {
		p := &f.parts[i]
		if p.data.Records.Length == 0 {
			continue
		}
		old, err := f.a.down.Convert(&downconvert.Request{
			TP: p.tp, Range: p.data.Records, Magic: magic, From: f.wants[i].Offset, Keep: keep, Hold: hold,
		})
		p.data.Records = old
		switch {
		case err == nil:
		case errors.Is(err, batch.ErrNoOldForm):
			p.data, p.refused = replica.Data{}, protocol.UnsupportedCompressionType
		case errors.Is(err, downconvert.ErrNothing):
			p.data, p.err = replica.Data{}, protocol.CorruptMessage
		default:
			f.a.log.Error("records could not be converted", "topic", p.tp.Topic, "partition", p.tp.Partition, "error", err)
			p.data, p.err = replica.Data{}, protocol.KafkaStorageError
		}
	}
}
