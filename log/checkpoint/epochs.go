package checkpoint

import (
	"strconv"

	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
)

// Epoch says that the records from StartOffset on were appended by the leader of
// Epoch.
type Epoch struct {
	Epoch       kafka.LeaderEpoch
	StartOffset int64
}

// ReadEpochs reads a leader-epoch-checkpoint. Epochs strictly increase, and so do
// their offsets.
func ReadEpochs(fs vfs.FS, name string) ([]Epoch, error) {
	data, err := readText(fs, name)
	if err != nil {
		return nil, err
	}
	return DecodeEpochs(name, data)
}

// DecodeEpochs reads the content of a leader-epoch-checkpoint; name is for errors.
func DecodeEpochs(name string, data []byte) ([]Epoch, error) {
	var epochs []Epoch
	err := decodeTable(name, data, 2, func(fields [][]byte) error {
		epoch, err := number(fields[0], 32)
		if err != nil {
			return err
		}
		start, err := number(fields[1], 64)
		if err != nil {
			return err
		}
		e := Epoch{Epoch: kafka.LeaderEpoch(epoch), StartOffset: start}
		if n := len(epochs); n > 0 && (e.Epoch <= epochs[n-1].Epoch || e.StartOffset <= epochs[n-1].StartOffset) {
			return errOrder
		}
		epochs = append(epochs, e)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return epochs, nil
}

// WriteEpochs replaces a leader-epoch-checkpoint.
func WriteEpochs(fs vfs.FS, name string, epochs []Epoch) error {
	return vfs.WriteFileAtomic(fs, name, EncodeEpochs(epochs))
}

// EncodeEpochs returns the content of a leader-epoch-checkpoint.
func EncodeEpochs(epochs []Epoch) []byte {
	b := encodeTable(len(epochs))
	for _, e := range epochs {
		b = append(strconv.AppendInt(b, int64(e.Epoch), 10), ' ')
		b = append(strconv.AppendInt(b, e.StartOffset, 10), '\n')
	}
	return b
}
