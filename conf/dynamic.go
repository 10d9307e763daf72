package conf

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// WithDynamic returns the configuration under dynamic configs from ZooKeeper:
// clusterWide from /config/brokers/<default>, perBroker from /config/brokers/<id>.
// What is invalid or not dynamic there is left out and warned of, never fatal.
func (c *Config) WithDynamic(perBroker, clusterWide map[string]string) (*Config, []Warning) {
	var warnings []Warning
	sift := func(layer map[string]string, own bool) map[string]string {
		good := map[string]string{}
		for _, name := range slices.Sorted(maps.Keys(layer)) {
			err := checkDynamic(name, layer[name], own)
			if k := lookup(name); err == nil && k != nil && k.AtStart {
				err = c.checkLive(name, layer[name])
			}
			if err != nil {
				warnings = append(warnings, Warning{name, "dynamic config ignored: " + err.Error()})
				continue
			}
			good[name] = layer[name]
		}
		return good
	}
	own, all := sift(perBroker, true), sift(clusterWide, false)
	// Values that are fine alone may contradict each other; then the broker's own
	// layer goes first, and the cluster's if that did not help.
	for _, try := range [][2]map[string]string{{own, all}, {nil, all}, {nil, nil}} {
		next, _, err := compile(c.static, try[0], try[1], c.acceptAll(try[0], try[1]))
		if err == nil {
			return next, warnings
		}
		warnings = append(warnings, Warning{Text: "dynamic configs ignored: " + err.Error()})
	}
	return c, warnings
}

// acceptAll adds the dynamic keys to those accepted at start: a broker that runs
// is not stopped by a key that it does not act on.
func (c *Config) acceptAll(layers ...map[string]string) []string {
	accept := slices.Clone(c.accepted)
	for _, l := range layers {
		for name := range l {
			if lookup(name) != nil {
				accept = append(accept, name)
			}
		}
	}
	return accept
}

// CheckDynamic says whether a whole set of dynamic broker configs may be stored,
// for one broker or for the cluster's default. The texts are Kafka's, for
// INVALID_REQUEST, where Kafka has one; what this broker could not act on before
// a restart is refused.
func (c *Config) CheckDynamic(values map[string]string, perBroker bool) error {
	names := slices.Sorted(maps.Keys(values))
	if err := checkNames(names); err != nil {
		return err
	}
	for _, name := range names {
		if err := checkDynamic(name, values[name], perBroker); err != nil {
			return err
		}
		if err := c.checkLive(name, values[name]); err != nil {
			return err
		}
		if err := c.checkThreads(name, values[name]); err != nil {
			return err
		}
	}
	layers := [2]map[string]string{c.perBroker, values}
	if perBroker {
		layers = [2]map[string]string{values, c.clusterWide}
	}
	_, _, err := compile(c.static, layers[0], layers[1], c.acceptAll(layers[:]...))
	if e, ok := errors.AsType[*Error](err); ok {
		return invalidDynamic(e.Key, e.Reason)
	}
	return err
}

// invalidDynamic has the words of Java's exception in an exception.
func invalidDynamic(key, reason string) *Error {
	return &Error{Key: key, Reason: "Invalid value org.apache.kafka.common.config.ConfigException: " + reason + " for configuration Invalid dynamic configuration"}
}

// checkNames refuses names that can't be dynamic anywhere, all of them at once.
func checkNames(names []string) error {
	var static, bare []string
	for _, name := range names {
		switch k := lookup(name); {
		case k == nil:
		case k.Mode == ReadOnly:
			static = append(static, name)
		case k.Name == name && strings.HasPrefix(name, "ssl."):
			bare = append(bare, name)
		}
	}
	switch {
	case len(static) > 0:
		return &Error{Key: static[0], Reason: fmt.Sprintf("Cannot update these configs dynamically: Set(%s)", strings.Join(static, ", "))}
	case len(bare) > 0:
		return &Error{Key: bare[0], Reason: fmt.Sprintf("These security configs can be dynamically updated only per-listener using the listener prefix: HashSet(%s)", strings.Join(bare, ", "))}
	}
	return nil
}

// checkLive refuses another value of a key that Kafka changes while it runs and
// this broker can't.
func (c *Config) checkLive(name, value string) error {
	k := lookup(name)
	if k == nil || !k.AtStart && k.Status != Weaker {
		return nil
	}
	v, _ := parse(k.Type, value)
	now := c.values[name]
	if now == nil && k.Name != name {
		now = c.values[k.Name]
	}
	if now == nil && (v == nil || format(v) == "") || now != nil && v != nil && format(v) == format(now) {
		return nil
	}
	if k.Status == Weaker {
		return &Error{Key: name, Reason: fmt.Sprintf("%s is not built yet, and without it this broker does less than it was told to", name)}
	}
	return &Error{Key: name, Reason: fmt.Sprintf("%s can't be changed while this broker runs: set it in the broker's configuration file and restart the broker", name)}
}

func checkDynamic(name, value string, perBroker bool) error {
	k := lookup(name)
	if k == nil { // unknown ones are kept for plug-ins
		return nil
	}
	prefixed := k.Name != name
	if err := checkNames([]string{name}); err != nil {
		return err
	}
	switch {
	case !perBroker && (k.Mode == PerBroker || prefixed && !clusterWideByListener(k.Name)):
		return &Error{Key: name, Reason: fmt.Sprintf("Cannot update these configs at default cluster level, broker id must be specified: Set(%s)", name)}
	case k.Status == Unsafe:
		return &Error{Key: name, Reason: fmt.Sprintf("%s is not built yet, and without it this broker would be less secure than it was told to be", name)}
	}
	v, reason := parse(k.Type, value)
	if reason == "" && k.Valid.check != nil {
		reason = k.Valid.check(v)
	}
	if reason != "" {
		return &Error{Key: name, Reason: invalid(k, name, setting{value: value}, v, reason).Reason, Value: true}
	}
	return nil
}

func clusterWideByListener(key string) bool {
	return key == "max.connections" || key == "max.connection.creation.rate" || key == "num.network.threads"
}

// checkThreads keeps a changed number of threads between half and twice the
// present one, as Kafka does.
func (c *Config) checkThreads(name, value string) error {
	few, half, twice := "value should be at least 1", "value should be at least half the current value %d", "value should not be greater than double the current value %d"
	prefix := fmt.Sprintf("Dynamic thread count update validation failed for %s=%s, ", name, value)
	switch name {
	case "num.io.threads", "num.network.threads", "num.replica.fetchers", "num.recovery.threads.per.data.dir", "background.threads":
	case "log.cleaner.threads":
		prefix, few = "", "Log cleaner threads should be at least 1"
		half, twice = "Log cleaner threads cannot be reduced to less than half the current value %d", "Log cleaner threads cannot be increased to more than double the current value %d"
	default:
		return nil
	}
	now, _ := c.values[name].(int64)
	v, _ := parse(Int, value)
	next, _ := v.(int64)
	switch {
	case next <= 0:
		return invalidDynamic(name, prefix+few)
	case next < now/2:
		return invalidDynamic(name, prefix+fmt.Sprintf(half, now))
	case next > now*2:
		return invalidDynamic(name, prefix+fmt.Sprintf(twice, now))
	}
	return nil
}
