package dumplog

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// Decoder makes the text of a key or a value.
type Decoder func(b []byte) (string, error)

// decoders are Kafka's own, by the names of their classes. Where its DefaultDecoder
// prints where in memory an array is, ours prints the bytes.
var decoders = map[string]Decoder{
	"StringDecoder":  func(b []byte) (string, error) { return text(b), nil },
	"DefaultDecoder": func(b []byte) (string, error) { return hex.EncodeToString(b), nil },
	"IntegerDecoder": func(b []byte) (string, error) {
		if len(b) != 4 {
			return "", fmt.Errorf("%d bytes are no Integer", len(b))
		}
		return strconv.Itoa(int(int32(binary.BigEndian.Uint32(b)))), nil
	},
	"LongDecoder": func(b []byte) (string, error) {
		if len(b) != 8 {
			return "", fmt.Errorf("%d bytes are no Long", len(b))
		}
		return strconv.FormatInt(int64(binary.BigEndian.Uint64(b)), 10), nil
	},
}

// DecoderOf finds a decoder by the name of its Java class, with or without the package
// org.apache.kafka.tools.api, or kafka.serializer as before 3.8.
func DecoderOf(class string) (Decoder, error) {
	name := strings.TrimPrefix(strings.TrimPrefix(class, "org.apache.kafka.tools.api."), "kafka.serializer.")
	if d := decoders[name]; d != nil {
		return d, nil
	}
	return nil, fmt.Errorf("there is no decoder %s, but StringDecoder, LongDecoder, IntegerDecoder and DefaultDecoder (the bytes, in hexadecimal)", class)
}
