package conf

import (
	"slices"
	"strings"
	"sync"
)

// Type is a key's type, with the numbers of DescribeConfigs.
type Type int8

// Types of keys. Unknown is what a key has that no table holds.
const (
	Unknown  Type = 0
	Boolean  Type = 1
	String   Type = 2
	Int      Type = 3
	Short    Type = 4
	Long     Type = 5
	Double   Type = 6
	List     Type = 7
	Class    Type = 8
	Password Type = 9
)

var typeNames = [...]string{"UNKNOWN", "BOOLEAN", "STRING", "INT", "SHORT", "LONG", "DOUBLE", "LIST", "CLASS", "PASSWORD"}

// String is Kafka's name of the type.
func (t Type) String() string { return typeNames[t] }

// Mode is how a key may change while the broker runs.
type Mode int8

// Modes. A cluster-wide key may also be set for one broker, which wins.
const (
	ReadOnly    Mode = iota // needs a restart
	PerBroker               // dynamic, for one broker only
	ClusterWide             // dynamic, for all brokers
)

// Status is what this broker does with a key.
type Status int8

// Statuses. What is set to its default never warns and never refuses.
const (
	Built    Status = iota // acts on it
	Harmless               // does not, which loses nothing that somebody relies on: a warning
	Weaker                 // does not, and gives less than was asked for: refuses unless accepted
	Unsafe                 // does not, and would be open where it was told to be closed: refuses
)

// Key is one configuration key of a broker.
type Key struct {
	Name      string
	Type      Type
	Default   string // as DescribeConfigs prints it
	NoDefault bool   // there is none: null
	Valid     rule   // what may stand there besides the type
	Mode      Mode
	Status    Status
	Internal  bool // hidden from DescribeConfigs, as Kafka hides it
	Custom    bool // read by a plug-in of Kafka's, not part of its definition
	// Stored: kept in ZooKeeper only, never in a file; described once it is set.
	Stored bool
	// AtStart: Kafka takes a change while it runs, this broker at its next start.
	AtStart bool
	Doc     string
}

// section is a group of keys under a title, in the order of conf/server.toml.
type section struct {
	title string
	keys  []Key
}

type keyTable struct {
	sections []section
	byName   map[string]*Key
	byLower  map[string]*Key // for environment variables, which lose the case
	topics   []TopicKey      // sorted by name
	byTopic  map[string]*TopicKey
}

// table is the one table of all keys; it never changes.
var table = sync.OnceValue(func() *keyTable {
	t := &keyTable{
		sections: []section{
			{"ZooKeeper", zookeeperKeys()},
			{"Identity and general server", brokerKeys()},
			{"Listeners and sockets", listenerKeys()},
			{"The log", logKeys()},
			{"Replication and controller", replicationKeys()},
			{"Consumer groups", groupKeys()},
			{"Transactions and idempotent producers", txnKeys()},
			{"Metrics and quotas", quotaKeys()},
			{"Security", securityKeys()},
			{"Remote storage", remoteKeys()},
			{"KRaft", kraftKeys()},
		},
		byName:  map[string]*Key{},
		byLower: map[string]*Key{},
		topics:  topicKeys(),
		byTopic: map[string]*TopicKey{},
	}
	for _, s := range t.sections {
		for i := range s.keys {
			k := &s.keys[i]
			t.byName[k.Name] = k
			t.byLower[strings.ToLower(k.Name)] = k
		}
	}
	slices.SortFunc(t.topics, func(a, b TopicKey) int { return strings.Compare(a.Name, b.Name) })
	for i := range t.topics {
		t.byTopic[t.topics[i].Name] = &t.topics[i]
	}
	return t
})

// Keys returns all broker keys, in the order of conf/server.toml.
func Keys() []Key {
	var all []Key
	for _, s := range table().sections {
		all = append(all, s.keys...)
	}
	return all
}

const listenerPrefix = "listener.name."

// lookup finds a key by its name, or, for listener.name.<listener>.<key> and
// listener.name.<listener>.<mechanism>.<key>, the key that is overridden.
func lookup(name string) *Key {
	t := table()
	if k := t.byName[name]; k != nil {
		return k
	}
	rest, ok := strings.CutPrefix(name, listenerPrefix)
	if !ok {
		return nil
	}
	_, rest, ok = strings.Cut(rest, ".")
	if !ok {
		return nil
	}
	if k := t.byName[rest]; k != nil && mayBePrefixed(k.Name) {
		return k
	}
	_, rest, _ = strings.Cut(rest, ".")
	switch rest {
	case "sasl.jaas.config", "sasl.login.class", "sasl.login.callback.handler.class",
		"sasl.server.callback.handler.class", "connections.max.reauth.ms":
		return t.byName[rest]
	}
	return nil
}

// mayBePrefixed says whether a listener may have its own value of a key.
func mayBePrefixed(name string) bool {
	switch name {
	case "principal.builder.class", "connections.max.reauth.ms", "max.connections",
		"max.connection.creation.rate", "num.network.threads":
		return true
	}
	return strings.HasPrefix(name, "ssl.") || strings.HasPrefix(name, "sasl.")
}
