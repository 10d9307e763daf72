package conf

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Warning is something that the operator should know and that does not stop
// the broker.
type Warning struct {
	Key  string
	Text string
}

// Error is one value, or a combination of values, that cannot be.
type Error struct {
	Key    string // "" for a combination
	Reason string // Kafka's text where Kafka has one
	Hint   string // what may stand there, or what to do
	Where  string // file and line, --override or environment; "" for dynamic and topic configs
	// Value: one value is out of its type or range, or can't be taken by this
	// broker; not a contradiction between several.
	Value bool
}

// Error is the reason, the hint and the place.
func (e *Error) Error() string {
	s := e.Reason
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	if e.Where != "" {
		s += " (" + e.Where + ")"
	}
	return s
}

// ErrUnknownTopicConfig is wrapped when a topic config has a name that nobody
// knows.
var ErrUnknownTopicConfig = errors.New("unknown topic config")

// ErrFile is wrapped when the file cannot be read at all.
var ErrFile = errors.New("cannot read the configuration")

// setting is a value as it was given.
type setting struct {
	value, where string
}

// maxFile bounds what is read into memory. The complete server.toml has 60 KB.
const maxFile = 4 << 20

// Load reads a .properties or .toml file (path may be empty) with the
// environment's KAFKA_* variables and the overrides ("key=value") above it.
// accept names keys (--accept-missing) that may be set although this broker does
// not act on them yet. The error joins every *Error found, not only the first.
func Load(path string, overrides, environ []string, accept ...string) (*Config, []Warning, error) {
	settings := map[string]setting{}
	var warnings []Warning
	if path != "" {
		props, err := readFile(path)
		if err != nil {
			return nil, nil, err
		}
		file := filepath.Base(path)
		for _, p := range props {
			where := file
			if p.line > 0 {
				where = fmt.Sprintf("%s, line %d", file, p.line)
			}
			if old, twice := settings[p.key]; twice && old.value != p.value {
				warnings = append(warnings, Warning{p.key, fmt.Sprintf("%s stands twice in %s; the last one counts", p.key, file)})
			}
			settings[p.key] = setting{p.value, where}
		}
	}
	for _, p := range fromEnviron(environ) {
		settings[p.key] = setting{p.value, "from the environment"}
	}
	for _, o := range overrides {
		key, value, ok := strings.Cut(o, "=")
		if key = trim(key); !ok || key == "" {
			return nil, nil, &Error{Reason: fmt.Sprintf("--override %q is not of the form key=value", o)}
		}
		settings[key] = setting{value, "--override"}
	}
	c, more, err := compile(settings, nil, nil, accept)
	return c, append(warnings, more...), err
}

// FromMap is Load for values that are at hand.
func FromMap(values map[string]string, accept ...string) (*Config, []Warning, error) {
	settings := make(map[string]setting, len(values))
	for k, v := range values {
		settings[k] = setting{value: v}
	}
	return compile(settings, nil, nil, accept)
}

func readFile(path string) ([]property, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFile, err)
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%w: %s has %d bytes; at most %d are read", ErrFile, path, info.Size(), maxFile)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFile, err)
	}
	read := parseProperties
	if strings.EqualFold(filepath.Ext(path), ".toml") {
		read = parseTOML
	}
	props, err := read(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrFile, path, err)
	}
	return props, nil
}

// compile checks and types a whole configuration: the static settings and the
// dynamic layers above them.
func compile(static map[string]setting, perBroker, clusterWide map[string]string, accept []string) (*Config, []Warning, error) {
	static = maps.Clone(static)
	aliases(static)
	b := &builder{values: map[string]any{}}
	for _, name := range slices.Sorted(maps.Keys(static)) {
		if k := lookup(name); k != nil && k.Stored {
			b.warn(name, fmt.Sprintf("%s is set by kafka-configs.sh, not in a file; it has no effect%s", name, in(static[name].where)))
			delete(static, name)
		}
	}
	b.given = merge(static, perBroker, clusterWide)
	for _, name := range slices.Sorted(maps.Keys(b.given)) {
		b.take(name, b.given[name], accept)
	}
	for _, name := range accept {
		if lookup(name) == nil {
			b.warn(name, fmt.Sprintf("--accept-missing=%s names no key%s", name, suggestion(name)))
		}
	}
	if zk, ok := b.given["zookeeper.connect"]; !ok {
		b.fail(&Error{Key: "zookeeper.connect",
			Reason: "Missing required configuration `zookeeper.connect` which has no default value.",
			Hint:   "give the ensemble as host:port,host:port/chroot"})
	} else if trim(zk.value) == "" {
		b.fail(&Error{Key: "zookeeper.connect", Reason: "zookeeper.connect is empty", Where: zk.where,
			Hint: "give the ensemble as host:port,host:port/chroot"})
	}
	if len(b.errs) > 0 {
		return nil, b.warnings, errors.Join(b.errs...)
	}
	c := b.build()
	c.static, c.perBroker, c.clusterWide = static, perBroker, clusterWide
	c.accepted = accept
	if len(b.errs) > 0 {
		return nil, b.warnings, errors.Join(b.errs...)
	}
	return c, b.warnings, nil
}

// aliases gives broker.id and node.id the same value when only one is set.
func aliases(static map[string]setting) {
	broker, hasBroker := static["broker.id"]
	node, hasNode := static["node.id"]
	switch {
	case hasBroker && !hasNode:
		static["node.id"] = broker
	case hasNode && !hasBroker:
		static["broker.id"] = node
	}
}

// merge lays the layers over each other. A higher layer that sets a key takes
// away all its synonyms below, so that a dynamic log.retention.hours would beat
// a static log.retention.ms.
func merge(static map[string]setting, perBroker, clusterWide map[string]string) map[string]setting {
	all := maps.Clone(static)
	for _, layer := range []struct {
		name   string
		values map[string]string
	}{{"dynamic, cluster-wide", clusterWide}, {"dynamic, this broker", perBroker}} {
		for k := range layer.values {
			for _, s := range synonyms(k) {
				delete(all, s)
			}
		}
		for k, v := range layer.values {
			all[k] = setting{v, layer.name}
		}
	}
	return all
}

// synonyms lists the keys that say the same in other units, by rank, the key
// itself among them (DynamicBrokerConfig.brokerConfigSynonyms).
func synonyms(name string) []string {
	switch name {
	case "log.roll.ms", "log.roll.hours":
		return []string{"log.roll.ms", "log.roll.hours"}
	case "log.roll.jitter.ms", "log.roll.jitter.hours":
		return []string{"log.roll.jitter.ms", "log.roll.jitter.hours"}
	case "log.flush.interval.ms":
		return []string{"log.flush.interval.ms", "log.flush.scheduler.interval.ms"}
	case "log.retention.ms", "log.retention.minutes", "log.retention.hours":
		return []string{"log.retention.ms", "log.retention.minutes", "log.retention.hours"}
	}
	if k := lookup(name); k != nil && k.Name != name && k.Mode != ReadOnly {
		return []string{name, k.Name}
	}
	return []string{name}
}

// take checks one value and keeps it typed.
func (b *builder) take(name string, s setting, accept []string) {
	k := lookup(name)
	if k == nil {
		b.warn(name, fmt.Sprintf("nobody knows the key %s%s; it has no effect%s", name, suggestion(name), in(s.where)))
		return
	}
	v, reason := parse(k.Type, s.value)
	if reason == "" && k.Valid.check != nil {
		reason = k.Valid.check(v)
	}
	if reason != "" {
		b.fail(invalid(k, name, s, v, reason))
		return
	}
	unchanged := format(v) == k.Default // also "" where there is no default
	if !unchanged && !(k.Custom && v == false) {
		b.notBuilt(k, name, s, accept)
	}
	b.values[name] = v
}

// invalid is Kafka's error for a value out of its type or range, with what is
// allowed.
func invalid(k *Key, name string, s setting, v any, reason string) *Error {
	shown := trim(s.value)
	if list, ok := v.([]string); ok && len(list) > 1 { // Kafka names the wrong element
		for _, e := range list {
			if k.Valid.check([]string{e}) != "" {
				shown = e
				break
			}
		}
	} else if f, ok := v.(float64); ok {
		shown = formatDouble(f)
	}
	if k.Type == Password {
		shown = "[hidden]"
	}
	return &Error{Key: name, Where: s.where, Hint: k.allowed(), Value: true,
		Reason: fmt.Sprintf("Invalid value %s for configuration %s: %s", shown, name, reason)}
}

// allowed says in words what may stand in a key, "" if anything may.
func (k *Key) allowed() string {
	bounds := map[Type]string{Int: "-2147483648 to 2147483647", Short: "-32768 to 32767", Long: "a whole number of 64 bits",
		Double: "a number", Boolean: "true or false"}[k.Type]
	most := map[Type]string{Int: "2147483647", Short: "32767", Long: maxLong}[k.Type]
	switch {
	case k.Valid.allowed == "" && bounds == "":
		return ""
	case k.Valid.allowed == "":
		return "allowed: " + bounds
	case most != "" && strings.HasSuffix(k.Valid.allowed, " or more"):
		return "allowed: " + strings.TrimSuffix(k.Valid.allowed, " or more") + " to " + most
	}
	return "allowed: " + k.Valid.allowed
}

// notBuilt warns of a key, or refuses it, that this broker does not act on.
func (b *builder) notBuilt(k *Key, name string, s setting, accept []string) {
	switch k.Status {
	case Harmless:
		b.warn(name, fmt.Sprintf("%s is known and changes nothing here%s. %s", name, in(s.where), k.Doc))
	case Weaker:
		if slices.Contains(accept, name) || slices.Contains(accept, k.Name) {
			b.warn(name, fmt.Sprintf("%s is not built yet; running without it, as --accept-missing says", name))
			return
		}
		b.fail(&Error{Key: name, Where: s.where,
			Reason: fmt.Sprintf("%s is not built yet, and without it this broker does less than it was told to", name),
			Hint:   fmt.Sprintf("take it out, or start with --accept-missing=%s", name)})
	case Unsafe:
		b.fail(&Error{Key: name, Where: s.where,
			Reason: fmt.Sprintf("%s is not built yet, and without it this broker would be less secure than it was told to be", name),
			Hint:   "take it out to run without"})
	}
}

func in(where string) string {
	if where == "" {
		return ""
	}
	return " (" + where + ")"
}

// suggestion is ", did you mean X?", or nothing when no key is near.
func suggestion(name string) string {
	if len(name) > 200 {
		return ""
	}
	best, least := "", len(name)/3+1
	for _, k := range slices.Sorted(maps.Keys(table().byName)) {
		if d := distance(strings.ToLower(name), strings.ToLower(k), least); d < least {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %s?)", best)
}

// distance is how many characters have to be put in, taken out, replaced or swapped
// with their neighbours, or limit if there are as many or more.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	before, above, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before, above, row = above, row, before
		row[0] = i + 1
		for j := range len(b) {
			row[j+1] = min(above[j]+btoi(a[i] != b[j]), row[j]+1, above[j+1]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
	}
	return min(row[len(b)], limit)
}
