package log

import (
	"errors"
	"fmt"

	"barnabas/log/batch"
)

// upgrade makes a batch of the message set of format 0 or 1 that a client sent.
// It is compressed as the topic wants at once, so that nothing is compressed
// twice.
func (l *Log) upgrade(set []byte) ([]byte, error) {
	o := l.opts.Load()
	b, err := batch.ConvertUp(set, &batch.UpRules{
		MaxBytes: o.MaxMessageBytes, Recompress: o.Recompress, Codec: o.Codec, Level: o.Level, Codecs: l.o.Codecs,
	})
	if errors.Is(err, batch.ErrShort) {
		return nil, fmt.Errorf("%w: no whole message", batch.ErrInvalidRecord)
	}
	return b, err
}
