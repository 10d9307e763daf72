package tools

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

// recordFormatter prints records as Kafka's DefaultMessageFormatter does.
type recordFormatter struct {
	timestamp, key, offset, partition, headers, value bool
	keySeparator, lineSeparator, headersSeparator     string
	nullLiteral                                       string
	keyText, valueText, headerText                    deserializer

	silent bool      // NoOpMessageFormatter
	log    io.Writer // LoggingMessageFormatter: a line here, besides
}

// deserializer makes text of bytes that are not null.
type deserializer func(b []byte) (string, error)

func newRecordFormatter(props map[string]string) (recordFormatter, error) {
	f := recordFormatter{value: true, keySeparator: "\t", lineSeparator: "\n", headersSeparator: ",", nullLiteral: "null"}
	for name, to := range map[string]*bool{"print.timestamp": &f.timestamp, "print.key": &f.key, "print.offset": &f.offset,
		"print.partition": &f.partition, "print.headers": &f.headers, "print.value": &f.value} {
		if v, ok := props[name]; ok {
			*to = strings.EqualFold(strings.TrimSpace(v), "true")
		}
	}
	for name, to := range map[string]*string{"key.separator": &f.keySeparator, "line.separator": &f.lineSeparator,
		"headers.separator": &f.headersSeparator, "null.literal": &f.nullLiteral} {
		if v, ok := props[name]; ok {
			*to = v
		}
	}
	for name, to := range map[string]*deserializer{"key.deserializer": &f.keyText, "value.deserializer": &f.valueText, "headers.deserializer": &f.headerText} {
		d, err := newDeserializer(props[name])
		if err != nil {
			return f, err
		}
		*to = d
	}
	return f, nil
}

// format writes one record and its line separator.
func (f *recordFormatter) format(w io.Writer, r *kgo.Record) error {
	if f.log != nil {
		fmt.Fprintf(f.log, "%skey:%s, value:%s\n", timestampPrefix(r), f.orNull(r.Key), f.orNull(r.Value))
		return nil
	}
	if f.silent {
		return nil
	}
	var columns []string
	if f.timestamp {
		columns = append(columns, timestampText(r))
	}
	if f.partition {
		columns = append(columns, "Partition:"+strconv.Itoa(int(r.Partition)))
	}
	if f.offset {
		columns = append(columns, "Offset:"+strconv.FormatInt(r.Offset, 10))
	}
	if f.headers {
		text, err := f.headersOf(r)
		if err != nil {
			return err
		}
		columns = append(columns, text)
	}
	for _, part := range []struct {
		on    bool
		bytes []byte
		text  deserializer
		name  string
	}{{f.key, r.Key, f.keyText, "key"}, {f.value, r.Value, f.valueText, "value"}} {
		if !part.on {
			continue
		}
		text, err := f.text(part.text, part.bytes)
		if err != nil {
			return fmt.Errorf("the %s: %w", part.name, err)
		}
		columns = append(columns, text)
	}
	if len(columns) == 0 {
		return nil
	}
	_, err := io.WriteString(w, strings.Join(columns, f.keySeparator)+f.lineSeparator)
	return err
}

func (f *recordFormatter) headersOf(r *kgo.Record) (string, error) {
	if len(r.Headers) == 0 {
		return "NO_HEADERS", nil
	}
	parts := make([]string, len(r.Headers))
	for i, h := range r.Headers {
		text, err := f.text(f.headerText, h.Value)
		if err != nil {
			return "", fmt.Errorf("the header %s: %w", h.Key, err)
		}
		parts[i] = h.Key + ":" + text
	}
	return strings.Join(parts, f.headersSeparator), nil
}

func (f *recordFormatter) text(d deserializer, b []byte) (string, error) {
	if b == nil {
		return f.nullLiteral, nil
	}
	return d(b)
}

func (f *recordFormatter) orNull(b []byte) string {
	if b == nil {
		return "null"
	}
	return string(b)
}

func timestampText(r *kgo.Record) string {
	switch r.Attrs.TimestampType() {
	case 0:
		return "CreateTime:" + strconv.FormatInt(r.Timestamp.UnixMilli(), 10)
	case 1:
		return "LogAppendTime:" + strconv.FormatInt(r.Timestamp.UnixMilli(), 10)
	}
	return "NO_TIMESTAMP"
}

func timestampPrefix(r *kgo.Record) string {
	if t := timestampText(r); t != "NO_TIMESTAMP" {
		return t + ", "
	}
	return ""
}

// newDeserializer knows Java's deserializers by the last part of their names.
func newDeserializer(class string) (deserializer, error) {
	name := class[strings.LastIndexByte(class, '.')+1:]
	fixed := func(n int, text func(b []byte) string) deserializer {
		return func(b []byte) (string, error) {
			if len(b) != n {
				return "", fmt.Errorf("Size of data received by %s is not %d", name, n) //nolint:staticcheck // Kafka's words
			}
			return text(b), nil
		}
	}
	switch name {
	case "", "StringDeserializer", "ByteArrayDeserializer", "BytesDeserializer":
		return func(b []byte) (string, error) { return string(b), nil }, nil
	case "ShortDeserializer":
		return fixed(2, func(b []byte) string { return strconv.Itoa(int(int16(binary.BigEndian.Uint16(b)))) }), nil
	case "IntegerDeserializer":
		return fixed(4, func(b []byte) string { return strconv.Itoa(int(int32(binary.BigEndian.Uint32(b)))) }), nil
	case "LongDeserializer":
		return fixed(8, func(b []byte) string { return strconv.FormatInt(int64(binary.BigEndian.Uint64(b)), 10) }), nil
	case "FloatDeserializer":
		return fixed(4, func(b []byte) string {
			return strconv.FormatFloat(float64(math.Float32frombits(binary.BigEndian.Uint32(b))), 'g', -1, 32)
		}), nil
	case "DoubleDeserializer":
		return fixed(8, func(b []byte) string {
			return strconv.FormatFloat(math.Float64frombits(binary.BigEndian.Uint64(b)), 'g', -1, 64)
		}), nil
	case "BooleanDeserializer":
		return fixed(1, func(b []byte) string { return strconv.FormatBool(b[0] == 1) }), nil
	case "UUIDDeserializer":
		return func(b []byte) (string, error) { return string(b), nil }, nil // Java sends its text
	case "VoidDeserializer":
		return func([]byte) (string, error) { return "null", nil }, nil
	}
	return nil, usagef("the deserializer %s is not known; there are those for String, ByteArray, Bytes, Short, Integer, Long, Float, Double, Boolean and UUID", class)
}
