package conf

import (
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
			if err := checkDynamic(name, layer[name], own); err != nil {
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

// CheckDynamic says whether a set of dynamic broker configs may be stored, for
// one broker or for the cluster's default. The texts are Kafka's, for
// INVALID_REQUEST.
func (c *Config) CheckDynamic(values map[string]string, perBroker bool) error {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if err := checkDynamic(name, values[name], perBroker); err != nil {
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
	return err
}

func checkDynamic(name, value string, perBroker bool) error {
	k := lookup(name)
	if k == nil { // unknown ones are kept for plug-ins
		return nil
	}
	prefixed := k.Name != name
	switch {
	case k.Mode == ReadOnly:
		return &Error{Key: name, Reason: fmt.Sprintf("Cannot update these configs dynamically: Set(%s)", name)}
	case !prefixed && strings.HasPrefix(name, "ssl."):
		return &Error{Key: name, Reason: fmt.Sprintf("These security configs can be dynamically updated only per-listener using the listener prefix: Set(%s)", name)}
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
		return &Error{Key: name, Reason: invalid(k, name, setting{value: value}, v, reason).Reason}
	}
	return nil
}

func clusterWideByListener(key string) bool {
	return key == "max.connections" || key == "max.connection.creation.rate" || key == "num.network.threads"
}

// checkThreads keeps a changed number of threads between half and twice the
// present one, as Kafka does.
func (c *Config) checkThreads(name, value string) error {
	switch name {
	case "num.io.threads", "num.network.threads", "num.replica.fetchers", "num.recovery.threads.per.data.dir",
		"background.threads", "log.cleaner.threads":
	default:
		return nil
	}
	now, _ := c.values[name].(int64)
	v, _ := parse(Int, value)
	next, _ := v.(int64)
	prefix := fmt.Sprintf("Dynamic thread count update validation failed for %s=%d: ", name, next)
	switch {
	case next <= 0:
		return &Error{Key: name, Reason: prefix + "value should be at least 1"}
	case next < now/2:
		return &Error{Key: name, Reason: fmt.Sprintf("%svalue should be at least half the current value %d", prefix, now)}
	case next > now*2:
		return &Error{Key: name, Reason: fmt.Sprintf("%svalue should not be greater than double the current value %d", prefix, now)}
	}
	return nil
}
