package admin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"barnabas/cluster"
	"barnabas/conf"
	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// ConfigStore keeps the configs of topics and brokers. alter makes new configs
// of those that are stored, and may be called again; dry only asks it.
type ConfigStore interface {
	AlterTopic(ctx context.Context, topic string, dry bool, alter func(now map[string]string) (map[string]string, error)) error
	// AlterBroker is for one broker, or, with kafka.NoBroker, for the default of
	// all.
	AlterBroker(ctx context.Context, id kafka.BrokerID, dry bool, alter func(now map[string]string) (map[string]string, error)) error
}

// ResourceKind is what configs belong to, with the protocol's numbers.
type ResourceKind int8

// Kinds of resources. Only topics and brokers have configs that can be altered.
const (
	TopicResource   ResourceKind = 2
	BrokerResource  ResourceKind = 4
	LoggerResource  ResourceKind = 8
	MetricsResource ResourceKind = 16
	GroupResource   ResourceKind = 32
)

// Alteration changes the configs of one resource.
type Alteration struct {
	Kind ResourceKind
	// Name is a topic, a broker's id, or "" for the default of all brokers.
	Name    string
	Changes []conf.Change
	// Nulls are names given with a null value where there must be one.
	Nulls []string
	// Replace: Changes, all of them conf.Set, are the whole new set (AlterConfigs).
	Replace bool
}

const (
	// alterWait bounds how long ZooKeeper is tried.
	alterWait = 30 * time.Second
	// seenWait is how long an answer waits until this broker acts on what was
	// stored, so that who describes next sees it. It is stored anyway.
	seenWait = 2 * time.Second
)

// AlterConfigs changes configs, or only looks whether it could. The errors are
// in the order of the alterations, with the codes and texts of Kafka's
// ConfigAdminManager and ZkAdminManager. Any broker does it, as in Apache Kafka,
// but for those of a broker, which that broker does.
func (a *Admin) AlterConfigs(ctx context.Context, of []Alteration, validateOnly bool) []error {
	ctx, cancel := context.WithTimeout(ctx, alterWait)
	defer cancel()
	type resource struct {
		kind ResourceKind
		name string
	}
	count := map[resource]int{}
	for i := range of {
		count[resource{of[i].Kind, of[i].Name}]++
	}
	errs := make([]error, len(of))
	for i := range of {
		r := &of[i]
		if count[resource{r.Kind, r.Name}] > 1 {
			errs[i] = protocol.Fail(protocol.InvalidRequest, "Each resource must appear at most once.")
			continue
		}
		if errs[i] = r.check(); errs[i] == nil {
			errs[i] = a.alterConfig(ctx, r, validateOnly)
		}
	}
	return errs
}

// check refuses what no resource may be given.
func (r *Alteration) check() error {
	seen := map[string]bool{}
	for _, c := range r.Changes {
		if seen[c.Name] {
			return protocol.Fail(protocol.InvalidRequest, "Error due to duplicate config keys")
		}
		seen[c.Name] = true
	}
	if len(r.Nulls) > 0 {
		return protocol.Fail(protocol.InvalidRequest, "Null value not supported for : "+strings.Join(r.Nulls, ", "))
	}
	return nil
}

func (a *Admin) alterConfig(ctx context.Context, r *Alteration, validateOnly bool) error {
	switch r.Kind {
	case TopicResource:
		return a.alterTopicConfig(ctx, r, validateOnly)
	case BrokerResource:
		return a.alterBrokerConfig(ctx, r, validateOnly)
	case LoggerResource:
		if !r.Replace {
			return protocol.Fail(protocol.InvalidRequest, "Barnabas has no loggers whose level could be changed.")
		}
	case MetricsResource:
		return notAlterable("CLIENT_METRICS")
	case GroupResource:
		return notAlterable("GROUP")
	}
	return protocol.Fail(protocol.InvalidRequest, fmt.Sprintf("Unknown resource type %d", r.Kind))
}

func notAlterable(kind string) error {
	return protocol.Fail(protocol.InvalidRequest, "AlterConfigs is only supported for topics and brokers, but resource type is "+kind)
}

func (a *Admin) alterTopicConfig(ctx context.Context, r *Alteration, validateOnly bool) error {
	if r.Name == "" {
		return protocol.Fail(protocol.InvalidRequest, "Default topic resources are not allowed.")
	}
	gone := protocol.Fail(protocol.UnknownTopicOrPartition, fmt.Sprintf("The topic '%s' does not exist.", r.Name))
	if !a.knows(ctx, r.Name) {
		return gone
	}
	err := a.o.Configs.AlterTopic(ctx, r.Name, validateOnly, func(now map[string]string) (map[string]string, error) {
		next, err := conf.AlterTopic(r.base(now), r.Changes)
		if err == nil {
			_, err = a.o.Config().Topic(next)
		}
		return next, r.invalid("TOPIC", err)
	})
	if errors.Is(err, a.o.NoTopic) {
		return gone
	}
	if err != nil || validateOnly {
		return r.stored("TOPIC", err)
	}
	a.o.Logger.Info("topic configs changed", "topic", r.Name, "changes", r.names())
	wait, cancel := context.WithTimeout(ctx, seenWait)
	defer cancel()
	a.o.AwaitImage(wait, func(im *cluster.Image) bool { t := im.Topic(r.Name); return t == nil || r.done(t.Config) })
	return nil
}

// knows reports whether a topic exists; one that was made a moment ago may take
// another until this broker knows.
func (a *Admin) knows(ctx context.Context, topic string) bool {
	ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	return kafka.ValidateTopicName(topic) == nil &&
		a.o.AwaitImage(ctx, func(im *cluster.Image) bool { return im.Topic(topic) != nil }) == nil
}

func (a *Admin) alterBrokerConfig(ctx context.Context, r *Alteration, validateOnly bool) error {
	id := kafka.NoBroker
	if r.Name != "" {
		n, err := strconv.ParseInt(r.Name, 10, 32)
		switch id = kafka.BrokerID(n); {
		case err != nil:
			return protocol.Fail(protocol.InvalidRequest, "Node id must be an integer, but it is: "+r.Name)
		case id != a.o.Self:
			return protocol.Fail(protocol.InvalidRequest, fmt.Sprintf("Unexpected broker id, expected %d, but received %s", a.o.Self, r.Name))
		}
	}
	perBroker := id != kafka.NoBroker
	err := a.o.Configs.AlterBroker(ctx, id, validateOnly, func(now map[string]string) (map[string]string, error) {
		next, err := conf.AlterBroker(r.base(now), r.Changes, perBroker)
		if err != nil {
			return nil, r.invalid("BROKER", err)
		}
		if err := a.o.Config().CheckDynamic(next, perBroker); err != nil { // KAFKA-13609: not INVALID_CONFIG
			return nil, protocol.Fail(protocol.InvalidRequest, err.Error())
		}
		return next, nil
	})
	if err != nil || validateOnly {
		return r.stored("BROKER", err)
	}
	a.o.Logger.Info("broker configs changed", "broker", r.Name, "changes", r.names())
	wait, cancel := context.WithTimeout(ctx, seenWait)
	defer cancel()
	a.o.AwaitConfig(wait)
	return nil
}

// base is what the changes start from.
func (r *Alteration) base(now map[string]string) map[string]string {
	if r.Replace {
		return nil
	}
	return now
}

// done reports whether the changes would alter nothing.
func (r *Alteration) done(now map[string]string) bool {
	next, err := conf.AlterTopic(r.base(now), r.Changes)
	return err != nil || maps.Equal(now, next)
}

// names lists what is changed, for the log; values may be secret.
func (r *Alteration) names() string {
	names := make([]string, len(r.Changes))
	for i, c := range r.Changes {
		names[i] = c.Name
	}
	return strings.Join(names, ",")
}

// invalid turns an error of the new configs into the client's.
func (r *Alteration) invalid(kind string, err error) error {
	if err == nil || errors.Is(err, conf.ErrChange) {
		if err != nil {
			return protocol.Fail(protocol.UnknownServerError, "")
		}
		return nil
	}
	text := err.Error()
	if e, ok := errors.AsType[*conf.Error](err); ok {
		if text = e.Reason; e.Value {
			return r.invalidValue(kind, text)
		}
	}
	return protocol.Fail(protocol.InvalidConfig, text)
}

func (r *Alteration) invalidValue(kind, text string) error {
	return protocol.Fail(protocol.InvalidConfig, fmt.Sprintf("Invalid config value for resource ConfigResource(type=%s, name='%s'): %s", kind, r.Name, text))
}

// stored is the client's error where the store failed.
func (r *Alteration) stored(kind string, err error) error {
	if _, ok := errors.AsType[*protocol.Failure](err); err == nil || ok {
		return err
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return protocol.RequestTimedOut
	}
	return r.invalidValue(kind, err.Error())
}
