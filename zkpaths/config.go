package zkpaths

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/url"
	"strconv"
	"strings"

	"barnabas/internal/kafka"
)

// Config is the parent of the five kinds of configuration.
const Config = "/config"

// ConfigType is one kind.
type ConfigType string

const (
	ConfigTopics  ConfigType = "topics"
	ConfigBrokers ConfigType = "brokers"
	ConfigClients ConfigType = "clients"
	ConfigUsers   ConfigType = "users"
	ConfigIPs     ConfigType = "ips"
)

// DefaultEntity stands for "all that have none of their own". A real entity of
// this name is sanitized to another.
const DefaultEntity = "<default>"

// ConfigRoot is the parent of the entities of one kind.
func ConfigRoot(t ConfigType) string { return child(Config, string(t)) }

// ConfigPath is the znode of one entity: a topic, a broker id, a sanitized
// client id or user, an IP address, user/clients/client, or DefaultEntity.
func ConfigPath(t ConfigType, entity string) string { return child(ConfigRoot(t), entity) }

// TopicConfigPath holds a topic's overrides.
func TopicConfigPath(topic string) string { return ConfigPath(ConfigTopics, topic) }

// BrokerConfigPath holds a broker's dynamic configuration.
func BrokerConfigPath(id kafka.BrokerID) string {
	return ConfigPath(ConfigBrokers, strconv.Itoa(int(id)))
}

// EncodeConfig writes a config znode.
func EncodeConfig(values map[string]string) []byte {
	if values == nil {
		values = map[string]string{}
	}
	return render(struct {
		Version int               `json:"version"`
		Config  map[string]string `json:"config"`
	}{1, values})
}

// DecodeConfig reads a config znode. Null data and what is no JSON are an empty
// configuration, as for Kafka.
func DecodeConfig(data []byte) (map[string]string, error) {
	const what = "config"
	if len(data) > MaxData {
		return nil, dataErrorf(what, "%d bytes, at most %d", len(data), MaxData)
	}
	if depth(data) > maxDepth {
		return nil, dataErrorf(what, "nested deeper than %d", maxDepth)
	}
	if !json.Valid(data) {
		return map[string]string{}, nil
	}
	var v struct {
		Version int                        `json:"version"`
		Config  map[string]json.RawMessage `json:"config"`
	}
	if err := parse(what, data, &v); err != nil {
		return nil, err
	}
	if v.Version != 1 || v.Config == nil {
		return nil, dataErrorf(what, "version %d, or no config", v.Version)
	}
	out := make(map[string]string, len(v.Config))
	for k, raw := range v.Config {
		s, err := scalar(raw)
		if err != nil {
			return nil, dataErrorf(what, "%q: %w", k, err)
		}
		out[k] = s
	}
	return out, nil
}

// scalar takes a string, and from a human's hand a number or a truth value.
func scalar(raw json.RawMessage) (string, error) {
	raw = bytes.TrimSpace(raw)
	switch {
	case len(raw) == 0 || raw[0] == '{' || raw[0] == '[' || string(raw) == "null":
		return "", errors.New("the value is not a string")
	case raw[0] != '"':
		return string(raw), nil
	}
	var s string
	err := json.Unmarshal(raw, &s)
	return s, err
}

// Sanitize makes a client id or user name fit a path: Java's URLEncoder with
// %20 and %2A instead of + and *.
func Sanitize(name string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '-' || c == '_' {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hex[c>>4])
		b.WriteByte(hex[c&15])
	}
	return b.String()
}

// Desanitize undoes Sanitize; other encoders' plus signs are spaces.
func Desanitize(s string) (string, error) {
	out, err := url.QueryUnescape(s)
	if err != nil {
		return "", dataError("sanitized name", err)
	}
	return out, nil
}

const (
	// ConfigChanges has a sequential child for each change of a configuration.
	ConfigChanges = "/config/changes"
	// ConfigChangePrefix begins a child's name.
	ConfigChangePrefix = "config_change_"
	// ConfigChangePath is what a notification is created with, sequential.
	ConfigChangePath = ConfigChanges + "/" + ConfigChangePrefix
)

// ParseConfigChange reads the number of a child of ConfigChanges.
func ParseConfigChange(name string) (int64, bool) { return sequence(ConfigChangePrefix, name) }

// ConfigChange says which configuration changed.
type ConfigChange struct {
	Type   ConfigType
	Entity string
}

// Path is the znode to read again.
func (c ConfigChange) Path() string { return ConfigPath(c.Type, c.Entity) }

// Encode writes version 2.
func (c ConfigChange) Encode() []byte {
	return render(struct {
		Version int    `json:"version"`
		Path    string `json:"entity_path"`
	}{2, string(c.Type) + "/" + c.Entity})
}

// DecodeConfigChange reads versions 1 and 2. What Kafka would skip or log is an
// error here.
func DecodeConfigChange(data []byte) (ConfigChange, error) {
	const what = "config change"
	var v struct {
		Version int    `json:"version"`
		Path    string `json:"entity_path"`
		Type    string `json:"entity_type"`
		Name    string `json:"entity_name"`
	}
	if err := parse(what, data, &v); err != nil {
		return ConfigChange{}, err
	}
	c := ConfigChange{ConfigType(v.Type), v.Name}
	switch v.Version {
	case 1:
		if c.Type != ConfigTopics && c.Type != ConfigClients {
			return ConfigChange{}, dataErrorf(what, "version 1 with type %q", c.Type)
		}
	case 2:
		t, entity, _ := strings.Cut(v.Path, "/")
		c = ConfigChange{ConfigType(t), entity}
	default:
		return ConfigChange{}, dataErrorf(what, "version %d", v.Version)
	}
	switch c.Type {
	case ConfigTopics, ConfigBrokers, ConfigClients, ConfigUsers, ConfigIPs:
	default:
		return ConfigChange{}, dataErrorf(what, "kind %q", c.Type)
	}
	if c.Entity == "" {
		return ConfigChange{}, dataErrorf(what, "no entity in %q", clip(data))
	}
	return c, nil
}
