package conf

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// parseTOML reads the same dotted names as parseProperties, as tables, dotted
// keys or quoted keys; arrays are lists.
func parseTOML(data []byte) ([]property, error) {
	var root map[string]any
	if _, err := toml.Decode(string(data), &root); err != nil {
		if perr, ok := errors.AsType[toml.ParseError](err); ok {
			return nil, fmt.Errorf("line %d: %s", perr.Position.Line, perr.Message)
		}
		return nil, err
	}
	var out []property
	if err := flatten(&out, "", root); err != nil {
		return nil, err
	}
	slices.SortFunc(out, func(a, b property) int { return strings.Compare(a.key, b.key) })
	for i := 1; i < len(out); i++ {
		if out[i].key == out[i-1].key {
			return nil, fmt.Errorf("%s is there twice, as a quoted key and in a table", out[i].key)
		}
	}
	return out, nil
}

func flatten(out *[]property, prefix string, table map[string]any) error {
	for k, v := range table {
		name := prefix + k
		if sub, ok := v.(map[string]any); ok {
			if err := flatten(out, name+".", sub); err != nil {
				return err
			}
			continue
		}
		text, err := tomlText(v)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		*out = append(*out, property{key: name, value: text})
	}
	return nil
}

func tomlText(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case bool:
		return strconv.FormatBool(v), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case float64:
		return formatDouble(v), nil
	case []any:
		parts := make([]string, len(v))
		for i, e := range v {
			s, err := tomlText(e)
			if err != nil {
				return "", err
			}
			parts[i] = s
		}
		return strings.Join(parts, ","), nil
	}
	return "", errors.New("a date or a list of tables cannot be a value; write text, a number, true, false, or a list of those")
}
