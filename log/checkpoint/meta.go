package checkpoint

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/magiconair/properties"

	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
)

// Meta is the content of a meta.properties.
type Meta struct {
	// Version 0 is ZooKeeper's, 1 is KRaft's (with node.id for BrokerID).
	Version int
	// BrokerID is -1 if absent.
	BrokerID kafka.BrokerID
	// ClusterID and DirectoryID are empty if absent.
	ClusterID, DirectoryID string
}

// ReadMeta reads a meta.properties. Unknown keys are ignored.
func ReadMeta(fs vfs.FS, name string) (Meta, error) {
	data, err := vfs.ReadFile(fs, name, 64<<10)
	if err != nil {
		return Meta{}, err
	}
	return DecodeMeta(name, data)
}

// DecodeMeta reads the content of a meta.properties; name is for errors. A
// version above 1 is an error.
func DecodeMeta(name string, data []byte) (Meta, error) {
	bad := func(format string, args ...any) (Meta, error) {
		return Meta{}, &CorruptError{File: name, What: fmt.Sprintf(format, args...)}
	}
	loader := properties.Loader{Encoding: properties.ISO_8859_1, DisableExpansion: true}
	p, err := loader.LoadBytes(data)
	if err != nil {
		return bad("%v", err)
	}
	known := func(key string) bool { _, ok := p.Get(key); return ok }
	if p.Len() > 0 && !slices.ContainsFunc([]string{"version", "broker.id", "node.id", "cluster.id", "directory.id"}, known) {
		return bad("it has none of the keys of a meta.properties")
	}
	m := Meta{BrokerID: kafka.NoBroker, ClusterID: p.GetString("cluster.id", ""), DirectoryID: p.GetString("directory.id", "")}
	if m.Version, err = strconv.Atoi(p.GetString("version", "0")); err != nil || m.Version < 0 || m.Version > 1 {
		return bad("version %.40q", p.GetString("version", ""))
	}
	key := "broker.id"
	if m.Version == 1 {
		key = "node.id"
	}
	if text, ok := p.Get(key); ok {
		id, err := strconv.ParseInt(text, 10, 32)
		if err != nil || id < 0 {
			return bad("%s %.40q", key, text)
		}
		m.BrokerID = kafka.BrokerID(id)
	}
	return m, nil
}

// WriteMeta replaces a meta.properties; now goes into its date comment.
func WriteMeta(fs vfs.FS, name string, m Meta, now time.Time) error {
	return vfs.WriteFileAtomic(fs, name, EncodeMeta(m, now))
}

// EncodeMeta returns the content of a meta.properties, as
// java.util.Properties.store orders it. Absent fields are left out.
func EncodeMeta(m Meta, now time.Time) []byte {
	var b strings.Builder
	b.WriteString("#\n#" + now.Format("Mon Jan 02 15:04:05 MST 2006") + "\n")
	line := func(key, value string) {
		if value != "" {
			b.WriteString(key + "=" + escape(value) + "\n")
		}
	}
	id := ""
	if m.BrokerID >= 0 {
		id = strconv.Itoa(int(m.BrokerID))
	}
	if m.Version == 0 {
		line("broker.id", id)
	} else {
		line("node.id", id)
	}
	line("directory.id", m.DirectoryID)
	line("version", strconv.Itoa(m.Version))
	line("cluster.id", m.ClusterID)
	return []byte(b.String())
}

// escape writes a value as java.util.Properties.store does.
func escape(value string) string {
	var b strings.Builder
	for i, r := range value {
		switch {
		case r == ' ' && i == 0, strings.ContainsRune(`\=:#!`, r):
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\f':
			b.WriteString(`\f`)
		case r < 0x20 || r > 0x7e && r <= 0xffff:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
