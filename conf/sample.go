package conf

import (
	"fmt"
	"strings"
)

// Sample is the text of conf/server.toml: every key with its documentation,
// commented out at its default, but for the few that a first broker needs.
func Sample() string {
	var b strings.Builder
	b.WriteString(sampleHead)
	for _, s := range table().sections {
		fmt.Fprintf(&b, "\n# %s\n# %s\n# %s\n", strings.Repeat("=", 76), s.title, strings.Repeat("=", 76))
		for i := range s.keys {
			if !s.keys[i].Stored {
				sampleKey(&b, &s.keys[i])
			}
		}
	}
	return b.String()
}

const sampleHead = `# Barnabas: the configuration of one broker.
#
#   barnabas server conf/server.toml
#
# These are Apache Kafka's own names, units and defaults; a server.properties of
# Kafka's is read as it is, too. Every key is here. A line that begins with "# "
# and a name shows the default; take the "# " away to change it. Names may also
# be written as tables: [log] and below it segment.bytes = 1073741824.
#
# What wins, highest first: --override key=value, the environment (KAFKA_LOG_DIRS
# is log.dirs), this file, the default.
#
# Marks behind a default:
#   [cluster-wide]  may be changed while the brokers run, for all of them
#   [per broker]    may be changed while the broker runs, for one of them
#   [no effect]     known, and changes nothing in this version
#   [not built]     the broker refuses to start with another value, unless it is
#                   told --accept-missing=key
#   [refused]       the broker refuses to start with another value, since it would
#                   be less secure than it was told to be
`

// starts holds what a first broker is started with.
func starts(name string) (value, why string) {
	switch name {
	case "broker.id":
		return "0", ""
	case "zookeeper.connect":
		return `"localhost:2181"`, ""
	case "listeners":
		return `"PLAINTEXT://:9092"`, ""
	case "log.dirs":
		return `"barnabas-data/server"`, ""
	case "offsets.topic.replication.factor", "transaction.state.log.replication.factor", "transaction.state.log.min.isr":
		return "1", "One broker has one replica. Delete this line as soon as there are three brokers."
	case "group.initial.rebalance.delay.ms":
		return "0", "Groups of one or two consumers start at once; with many, delete this line."
	}
	return "", ""
}

func sampleKey(b *strings.Builder, k *Key) {
	b.WriteString("\n")
	value, why := starts(k.Name)
	for _, line := range wrap(k.Doc, 76) {
		fmt.Fprintf(b, "## %s\n", line)
	}
	if k.Valid.allowed != "" {
		fmt.Fprintf(b, "## Allowed: %s.\n", k.Valid.allowed)
	}
	mark := k.mark()
	switch {
	case value != "":
		if why != "" {
			fmt.Fprintf(b, "## %s\n", why)
		}
		if !k.NoDefault {
			fmt.Fprintf(b, "## Default: %s\n", k.tomlDefault())
		}
		fmt.Fprintf(b, "%s = %s%s\n", tomlName(k.Name), value, mark)
	case k.NoDefault:
		fmt.Fprintf(b, "# %s = %s   # (not set)%s\n", tomlName(k.Name), placeholder(k.Type), mark)
	default:
		fmt.Fprintf(b, "# %s = %s%s\n", tomlName(k.Name), k.tomlDefault(), mark)
	}
}

func (k *Key) mark() string {
	var marks string
	switch {
	case k.AtStart:
	case k.Mode == ClusterWide:
		marks = "   # [cluster-wide]"
	case k.Mode == PerBroker:
		marks = "   # [per broker]"
	}
	switch k.Status {
	case Harmless:
		return marks + "   # [no effect]"
	case Weaker:
		return marks + "   # [not built]"
	case Unsafe:
		return marks + "   # [refused]"
	}
	return marks
}

// tomlName quotes names that begin other names: log.dir cannot be a value and
// the table of log.dir.failure.timeout.ms.
func tomlName(name string) string {
	for other := range table().byName {
		if strings.HasPrefix(other, name+".") {
			return `"` + name + `"`
		}
	}
	return name
}

func (k *Key) tomlDefault() string {
	switch k.Type {
	case Boolean, Int, Short, Long, Double:
		return k.Default
	case List:
		parts := splitList(k.Default)
		for i := range parts {
			parts[i] = fmt.Sprintf("%q", parts[i])
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return fmt.Sprintf("%q", k.Default)
}

func placeholder(t Type) string {
	switch t {
	case Int, Short, Long:
		return "0"
	case Boolean:
		return "false"
	case Double:
		return "0.0"
	case List:
		return "[]"
	}
	return `""`
}

// wrap breaks text at blanks into lines of at most width characters.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, w := range strings.Fields(text) {
		if line != "" && len(line)+1+len(w) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += w
	}
	return append(lines, line)
}
