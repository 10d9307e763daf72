package conf

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Op is what a Change does, with the numbers of IncrementalAlterConfigs
// (KIP-339).
type Op int8

// Operations. Append and Subtract are for lists only.
const (
	Set      Op = 0
	Delete   Op = 1
	Append   Op = 2
	Subtract Op = 3
)

// Change is one step from a set of stored configs to another.
type Change struct {
	Op    Op
	Name  string
	Value string // not of Delete
}

// ErrChange is a change that makes no sense: an operation that nobody knows, or
// one for lists on a name that nobody knows.
var ErrChange = errors.New("conf: no such change of a config")

// AlterTopic applies changes to the stored configs of a topic. Whether the
// result can be is for Topic to say.
func AlterTopic(now map[string]string, changes []Change) (map[string]string, error) {
	return alter(now, changes, func(name string) (Type, string, bool) {
		if k := table().byTopic[name]; k != nil {
			return k.Type, k.Default, true
		}
		return Unknown, "", false
	})
}

// AlterBroker applies changes to the stored configs of a broker, or of the
// default of all brokers. What is stored and can't be there, by a hand, is
// dropped. Whether the result can be is for CheckDynamic to say.
func AlterBroker(now map[string]string, changes []Change, perBroker bool) (map[string]string, error) {
	good := maps.Clone(now)
	maps.DeleteFunc(good, func(name, value string) bool { return checkDynamic(name, value, perBroker) != nil })
	return alter(good, changes, func(name string) (Type, string, bool) {
		if k := lookup(name); k != nil && !k.Custom {
			return k.Type, k.Default, true
		}
		return Unknown, "", false
	})
}

// alter applies changes in their order. Lists grow from the stored value or,
// without one, from the default of the table, not from what a broker's file
// says (Kafka's ConfigAdminManager.prepareIncrementalConfigs).
func alter(now map[string]string, changes []Change, find func(name string) (Type, string, bool)) (map[string]string, error) {
	out := maps.Clone(now)
	if out == nil {
		out = map[string]string{}
	}
	for _, c := range changes {
		switch c.Op {
		case Set:
			out[c.Name] = c.Value
		case Delete:
			delete(out, c.Name)
		case Append, Subtract:
			t, fallback, known := find(c.Name)
			if !known {
				return nil, fmt.Errorf("%w: %s is not known", ErrChange, c.Name)
			}
			if t != List {
				return nil, &Error{Key: c.Name, Reason: fmt.Sprintf("Config value %s is not allowed for config key: %s",
					map[Op]string{Append: "append", Subtract: "subtract"}[c.Op], c.Name)}
			}
			old, stored := out[c.Name]
			if !stored {
				old = fallback
			}
			out[c.Name] = alterList(c.Op, old, c.Value)
		default:
			return nil, fmt.Errorf("%w: operation %d", ErrChange, c.Op)
		}
	}
	return out, nil
}

func alterList(op Op, old, value string) string {
	var list []string
	if old != "" {
		list = strings.Split(old, ",")
	}
	for _, v := range strings.Split(value, ",") {
		i := slices.Index(list, v)
		switch {
		case op == Append && i < 0:
			list = append(list, v)
		case op == Subtract && i >= 0:
			list = slices.Delete(list, i, i+1)
		}
	}
	return strings.Join(list, ",")
}
