package conf

import (
	"maps"
	"slices"
)

// Source is where a value comes from, with the numbers of DescribeConfigs.
type Source int8

// Sources of values.
const (
	FromTopic          Source = 1
	FromDynamicBroker  Source = 2
	FromDynamicDefault Source = 3
	FromStaticBroker   Source = 4
	FromDefault        Source = 5
)

// Entry is one config as DescribeConfigs shows it.
type Entry struct {
	Name      string
	Value     *string // nil: null, or not to be shown
	ReadOnly  bool
	Source    Source
	Sensitive bool
	Type      Type
	Synonyms  []Synonym
	Doc       string
}

// Synonym is one place where an entry's value is, or could have been, taken
// from; the first is the one in force.
type Synonym struct {
	Name   string
	Value  *string
	Source Source
}

// DescribeBroker answers for the broker itself: every key that is not internal,
// and those that nobody knows. names nil: all. Names that do not exist are left
// out. The order is that of the names' bytes.
func (c *Config) DescribeBroker(names []string) []Entry {
	all := map[string]bool{}
	for name, k := range table().byName {
		all[name] = !k.Internal && !k.Custom && !k.Stored
	}
	for _, layer := range []map[string]string{c.perBroker, c.clusterWide} {
		for name := range layer {
			all[name] = true
		}
	}
	for name := range c.static {
		if k := table().byName[name]; k == nil || !k.Internal && !k.Stored {
			all[name] = true
		}
	}
	return entries(all, names, c.brokerEntry)
}

// DescribeClusterDefault answers for the default of all brokers: only what is
// set dynamically there.
func (c *Config) DescribeClusterDefault(names []string) []Entry {
	all := map[string]bool{}
	for name := range c.clusterWide {
		all[name] = true
	}
	return entries(all, names, func(name string) Entry {
		e := c.brokerEntry(name)
		e.Value = shown(e.Sensitive, c.clusterWide[name])
		e.Source = FromDynamicDefault
		e.Synonyms = slices.DeleteFunc(e.Synonyms, func(s Synonym) bool { return s.Source != FromDynamicDefault })
		return e
	})
}

func entries(all map[string]bool, names []string, entry func(string) Entry) []Entry {
	var out []Entry
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if all[name] && (names == nil || slices.Contains(names, name)) {
			out = append(out, entry(name))
		}
	}
	return out
}

func (c *Config) brokerEntry(name string) Entry {
	e := Entry{Name: name, ReadOnly: true, Sensitive: true, Source: FromDefault}
	// A listener's own value is shown by the type of what it overrides, but as
	// read-only: Kafka looks up the exact name.
	if k := lookup(name); k != nil && !k.Custom {
		e.Type, e.Doc, e.Sensitive = k.Type, k.Doc, k.Type == Password
		e.ReadOnly = k.Mode == ReadOnly || k.Name != name
	}
	if v := c.values[name]; v != nil {
		e.Value = shown(e.Sensitive, format(v))
	}
	e.Synonyms = c.synonymsOf(name, e.Sensitive)
	if len(e.Synonyms) > 0 {
		e.Source = e.Synonyms[0].Source
	}
	return e
}

// shown hides what is sensitive.
func shown(sensitive bool, v string) *string {
	if sensitive {
		return nil
	}
	return &v
}

// synonymsOf lists where a broker key's value stands, by layer and in a layer by
// rank, from the first with the asked name on (ConfigHelper.configSynonyms).
func (c *Config) synonymsOf(name string, sensitive bool) []Synonym {
	all := synonyms(name)
	var out []Synonym
	add := func(source Source, value func(name string) (string, bool)) {
		for _, s := range all {
			if v, ok := value(s); ok {
				out = append(out, Synonym{s, shown(sensitive, v), source})
			}
		}
	}
	from := func(m map[string]string) func(string) (string, bool) {
		return func(n string) (string, bool) { v, ok := m[n]; return v, ok }
	}
	add(FromDynamicBroker, from(c.perBroker))
	add(FromDynamicDefault, from(c.clusterWide))
	add(FromStaticBroker, func(n string) (string, bool) { s, ok := c.static[n]; return s.value, ok })
	add(FromDefault, func(n string) (string, bool) {
		k := table().byName[n]
		if k == nil || k.NoDefault {
			return "", false
		}
		return k.Default, true
	})
	i := slices.IndexFunc(out, func(s Synonym) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return out[i:]
}

// DescribeTopic answers for a topic with these overrides. names nil: all. Names
// that do not exist are left out.
func (c *Config) DescribeTopic(overrides map[string]string, names []string) []Entry {
	all := map[string]bool{}
	for name := range table().byTopic {
		all[name] = true
	}
	for name := range overrides {
		all[name] = true
	}
	return entries(all, names, func(name string) Entry { return c.topicEntry(name, overrides) })
}

func (c *Config) topicEntry(name string, overrides map[string]string) Entry {
	e := Entry{Name: name, Source: FromDefault, Sensitive: true}
	own, set := overrides[name]
	k := table().byTopic[name]
	if k != nil {
		e.Type, e.Doc, e.Sensitive = k.Type, k.Doc, k.Type == Password
		v := c.topicDefaults[name]
		if parsed, reason := parse(k.Type, own); set && reason == "" {
			v = parsed
		}
		e.Value = shown(e.Sensitive, format(v))
		if k.Synonym != "" {
			e.Synonyms = c.synonymsOf(k.Synonym, e.Sensitive)
		}
	}
	if set {
		e.Synonyms = slices.Insert(e.Synonyms, 0, Synonym{name, shown(e.Sensitive, own), FromTopic})
	}
	if len(e.Synonyms) > 0 {
		e.Source = e.Synonyms[0].Source
	}
	return e
}
