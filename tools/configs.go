package tools

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/conf"
	"barnabas/internal/kafka"
)

// configsFlags are those of kafka-configs.sh.
type configsFlags struct {
	clientFlags
	alter, describe, all          bool
	types, names                  []string
	byDefault                     bool
	topic, broker, brokerLogger   string
	user, client, ip, metrics     string
	brokerDefaults                bool
	otherDefaults                 [3]bool // users, clients, ips
	add, addFile                  string
	remove                        []string
	controllers, zookeeperConnect string
}

// entity is what the command line asks for.
type entity struct {
	kind  string // topics or brokers
	name  string // "": the default of all brokers
	named bool   // else all of the kind
}

func (t *tool) configsCommand() *cobra.Command {
	f := &configsFlags{}
	cmd := &cobra.Command{
		Use:   "configs",
		Short: "Change and print configs of topics and brokers while they run",
		Long: `Change and print configs of topics and brokers while they run.
Flags and output are those of kafka-configs.sh. A value with commas stands in
brackets: --add-config cleanup.policy=[compact,delete],retention.ms=1000

What brokers may change while they run is marked [cluster-wide] or [per broker]
in conf/server.toml. Without --all, only what was changed is printed.`,
		Example: `  barnabas configs --alter --topic orders --add-config retention.ms=3600000
  barnabas configs --alter --topic orders --delete-config retention.ms
  barnabas configs --describe --topic orders --all
  barnabas configs --alter --broker-defaults --add-config log.retention.ms=86400000
  barnabas configs --alter --broker 1 --add-config leader.replication.throttled.rate=10000000
  barnabas configs --describe --entity-type brokers`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return t.configs(cmd, f) },
	}
	f.register(cmd, "command-config")
	p := cmd.Flags()
	p.BoolVar(&f.alter, "alter", false, "change configs")
	p.BoolVar(&f.describe, "describe", false, "print configs")
	p.BoolVar(&f.all, "all", false, "print all configs, not only those that were changed")
	p.StringArrayVar(&f.types, "entity-type", nil, "topics or brokers")
	p.StringArrayVar(&f.names, "entity-name", nil, "the name of a topic or the id of a broker")
	p.BoolVar(&f.byDefault, "entity-default", false, "the default of all brokers")
	p.StringVar(&f.topic, "topic", "", "the name of a topic")
	p.StringVar(&f.broker, "broker", "", "the id of a broker")
	p.BoolVar(&f.brokerDefaults, "broker-defaults", false, "the default of all brokers")
	p.StringVar(&f.brokerLogger, "broker-logger", "", "not built")
	p.StringVar(&f.user, "user", "", "not built yet")
	p.BoolVar(&f.otherDefaults[0], "user-defaults", false, "not built yet")
	p.StringVar(&f.client, "client", "", "not built yet")
	p.BoolVar(&f.otherDefaults[1], "client-defaults", false, "not built yet")
	p.StringVar(&f.ip, "ip", "", "not built yet")
	p.BoolVar(&f.otherDefaults[2], "ip-defaults", false, "not built yet")
	p.StringVar(&f.metrics, "client-metrics", "", "not there with ZooKeeper")
	p.StringVar(&f.add, "add-config", "", "configs to set: k1=v1,k2=[v1,v2],k3=v3")
	p.StringVar(&f.addFile, "add-config-file", "", "a .properties file of configs to set")
	p.StringSliceVar(&f.remove, "delete-config", nil, "configs to delete: k1,k2")
	p.StringVar(&f.controllers, "bootstrap-controller", "", "not there with ZooKeeper; use --bootstrap-server")
	p.StringVar(&f.zookeeperConnect, "zookeeper", "", "not supported; use --bootstrap-server")
	p.Bool("force", false, "accepted and not needed")
	return cmd
}

func (t *tool) configs(cmd *cobra.Command, f *configsFlags) error {
	e, err := f.entity(cmd)
	if err != nil {
		return err
	}
	var changes []conf.Change
	if f.alter {
		if changes, err = f.changes(t); err != nil {
			return err
		}
	}
	ctx, cl, done, err := t.dial(cmd.Context(), &f.clientFlags)
	if err != nil {
		return err
	}
	defer done()
	if f.alter {
		return t.alterConfigs(ctx, cl, e, changes)
	}
	return t.describeConfigs(ctx, cl, e, f.all)
}

// entity checks the flags as Kafka's ConfigCommandOptions.checkArgs does.
func (f *configsFlags) entity(cmd *cobra.Command) (e entity, err error) {
	given := func(name string) bool { return cmd.Flags().Changed(name) }
	switch {
	case f.alter == f.describe:
		return e, usagef("Command must include exactly one action: --describe, --alter")
	case f.describe && (given("add-config") || given("add-config-file") || given("delete-config")):
		return e, usagef("--add-config, --add-config-file and --delete-config belong to --alter")
	case f.alter && f.all:
		return e, usagef("--all belongs to --describe")
	case given("zookeeper"):
		return e, usagef("--zookeeper is not supported here; --bootstrap-server is")
	case given("bootstrap-controller"):
		return e, usagef("there are no controllers of their own with ZooKeeper; use --bootstrap-server")
	}
	if e, err = f.chosen(given); err != nil {
		return e, err
	}
	if _, err := strconv.ParseInt(e.name, 10, 32); err != nil && e.kind == "brokers" && e.name != "" {
		return e, usagef("The entity name for brokers must be a valid integer broker id, but it is: %s", e.name)
	}
	if err := kafka.ValidateTopicName(e.name); err != nil && e.kind == "topics" && e.named {
		return e, usageError{err}
	}
	switch {
	case !f.alter:
	case !e.named && e.kind == "brokers":
		return e, usagef("An entity-name or default entity must be specified with --alter of users, clients, brokers or ips")
	case !e.named:
		return e, usagef("An entity name must be specified with --alter of %s", e.kind)
	case !given("add-config") && !given("add-config-file") && !given("delete-config"):
		return e, usagef("At least one of --add-config, --add-config-file, or --delete-config must be specified with --alter")
	case given("add-config") && given("add-config-file"):
		return e, usagef("Only one of --add-config or --add-config-file must be specified")
	}
	return e, nil
}

// notBuilt says why configs of a kind of entity can't be changed.
var notBuiltConfigs = map[string]string{
	"users":          "Configs of users (quotas and SCRAM credentials) are not built yet",
	"clients":        "Configs of clients (quotas) are not built yet",
	"ips":            "Configs of ips (quotas) are not built yet",
	"broker-loggers": "Brokers of Barnabas have no loggers; --log-level of \"barnabas server\" is their level",
	"client-metrics": "Configs of client-metrics are not there with ZooKeeper",
	"groups":         "Configs of groups are not there with ZooKeeper",
}

// chosen is the entity that the flags name, each in one of two ways.
func (f *configsFlags) chosen(given func(string) bool) (entity, error) {
	var found []entity
	for _, x := range []struct{ flag, kind, name string }{
		{"topic", "topics", f.topic}, {"broker", "brokers", f.broker}, {"broker-defaults", "brokers", ""},
		{"broker-logger", "broker-loggers", ""}, {"user", "users", ""}, {"user-defaults", "users", ""}, {"client", "clients", ""},
		{"client-defaults", "clients", ""}, {"ip", "ips", ""}, {"ip-defaults", "ips", ""}, {"client-metrics", "client-metrics", ""},
	} {
		if given(x.flag) {
			found = append(found, entity{x.kind, x.name, true})
		}
	}
	for i, kind := range f.types {
		e := entity{kind: kind}
		switch {
		case i < len(f.names):
			e.name, e.named = f.names[i], true
		case f.byDefault:
			e.named = true
		}
		found = append(found, e)
	}
	for _, e := range found {
		if why := notBuiltConfigs[e.kind]; why != "" {
			return e, fmt.Errorf("%s; those of topics and brokers are", why)
		}
		if e.kind != "topics" && e.kind != "brokers" {
			return e, usagef("Invalid entity type %s, the entity type must be one of topics, brokers", e.kind)
		}
	}
	switch {
	case len(found) == 0:
		return entity{}, usagef("At least one entity type must be specified: --topic, --broker, --broker-defaults, or --entity-type")
	case len(found) > 1:
		return entity{}, usagef("One entity at a time, please: Only 'users' and 'clients' may be specified together")
	case f.byDefault && found[0].kind == "topics":
		return entity{}, usagef("--entity-default must not be specified with --entity-type of topics; the defaults of topics are configs of brokers")
	case len(f.names) > len(f.types):
		return entity{}, usagef("--entity-name needs an --entity-type")
	}
	return found[0], nil
}

// changes reads what is to be set and deleted.
func (f *configsFlags) changes(t *tool) ([]conf.Change, error) {
	var out []conf.Change
	if f.add != "" {
		for _, pair := range splitOutsideBrackets(f.add) {
			k, v, ok := strings.Cut(pair, "=")
			if k = strings.TrimSpace(k); !ok || k == "" || strings.Contains(v, "=") && !strings.Contains(v, "[") {
				return nil, usagef(`Invalid entity config: all configs to be added must be in the format "key=val".`)
			}
			out = append(out, conf.Change{Name: k, Value: strings.TrimSpace(strings.NewReplacer("[", "", "]", "").Replace(v))})
		}
	}
	if f.addFile != "" {
		props, err := conf.ReadProperties(f.addFile)
		if err != nil {
			return nil, err
		}
		for k, v := range props {
			out = append(out, conf.Change{Name: k, Value: v})
		}
	}
	slices.SortFunc(out, func(a, b conf.Change) int { return strings.Compare(a.Name, b.Name) })
	for _, c := range out {
		if c.Name == "message.format.version" {
			fmt.Fprintf(t.out, "WARNING: The configuration %s=%s is specified. It is accepted and ignored: records are stored in the newest format.\n", c.Name, c.Value)
		}
	}
	for _, name := range f.remove {
		if name = strings.TrimSpace(name); name != "" {
			out = append(out, conf.Change{Op: conf.Delete, Name: name})
		}
	}
	return out, nil
}

// splitOutsideBrackets splits at commas that are not between [ and ].
func splitOutsideBrackets(s string) []string {
	var out []string
	from, inside := 0, false
	for i, r := range s {
		switch {
		case r == '[':
			inside = true
		case r == ']':
			inside = false
		case r == ',' && !inside:
			out, from = append(out, s[from:i]), i+1
		}
	}
	return append(out, s[from:])
}

func (e entity) resource() kmsg.ConfigResourceType {
	if e.kind == "topics" {
		return kmsg.ConfigResourceTypeTopic
	}
	return kmsg.ConfigResourceTypeBroker
}

// String names the entity as Kafka's output does.
func (e entity) String() string { return strings.TrimSuffix(e.kind, "s") + " " + e.name }

func (t *tool) alterConfigs(ctx context.Context, cl *kgo.Client, e entity, changes []conf.Change) error {
	now, err := describeEntity(ctx, cl, e)
	if err != nil {
		return err
	}
	var missing []string // Kafka's tool refuses to delete what is not set
	for _, c := range changes {
		set := slices.ContainsFunc(now, func(k kmsg.DescribeConfigsResponseResourceConfig) bool {
			return k.Name == c.Name && k.Source == e.source()
		})
		if c.Op == conf.Delete && !set {
			missing = append(missing, c.Name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("Invalid config(s): %s", strings.Join(missing, ",")) //nolint:staticcheck // Kafka's words
	}
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = e.resource(), e.name
	for _, c := range changes {
		rc := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		rc.Name, rc.Op, rc.Value = c.Name, kmsg.IncrementalAlterConfigOp(c.Op), kmsg.StringPtr(c.Value)
		r.Configs = append(r.Configs, rc)
	}
	req.Resources = append(req.Resources, r)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return brokerGone(e, err)
	}
	for i := range resp.Resources {
		if err := kafkaError(resp.Resources[i].ErrorCode, resp.Resources[i].ErrorMessage); err != nil {
			return err
		}
	}
	if e.name == "" {
		fmt.Fprintf(t.out, "Completed updating default config for %s in the cluster.\n", e.kind)
	} else {
		fmt.Fprintf(t.out, "Completed updating config for %s.\n", e)
	}
	return nil
}

// brokerGone makes an error of franz-go's plain.
func brokerGone(e entity, err error) error {
	if errors.Is(err, kgo.ErrClientClosed) || e.kind != "brokers" || e.name == "" {
		return explain(err)
	}
	return fmt.Errorf("broker %s: %w; is it running?", e.name, explain(err))
}

// source is where a value that was changed for the entity itself comes from.
func (e entity) source() kmsg.ConfigSource {
	switch {
	case e.kind == "topics":
		return kmsg.ConfigSourceDynamicTopicConfig
	case e.name == "":
		return kmsg.ConfigSourceDynamicDefaultBrokerConfig
	}
	return kmsg.ConfigSourceDynamicBrokerConfig
}

func (t *tool) describeConfigs(ctx context.Context, cl *kgo.Client, e entity, all bool) error {
	entities := []entity{e}
	if !e.named {
		var err error
		if entities, err = allEntities(ctx, cl, e.kind); err != nil {
			return err
		}
	}
	for _, e := range entities {
		configs, err := describeEntity(ctx, cl, e)
		if err != nil {
			return err
		}
		switch {
		case e.name == "":
			fmt.Fprintf(t.out, "Default configs for %s in the cluster are:\n", e.kind)
		case all:
			fmt.Fprintf(t.out, "All configs for %s are:\n", e)
		default:
			fmt.Fprintf(t.out, "Dynamic configs for %s are:\n", e)
		}
		for i := range configs {
			c := &configs[i]
			if !all && c.Source != e.source() {
				continue
			}
			var synonyms []string
			for _, s := range c.ConfigSynonyms {
				synonyms = append(synonyms, fmt.Sprintf("%s:%s=%s", s.Source, s.Name, orNull(s.Value)))
			}
			fmt.Fprintf(t.out, "  %s=%s sensitive=%t synonyms={%s}\n", c.Name, orNull(c.Value), c.IsSensitive, strings.Join(synonyms, ", "))
		}
	}
	return nil
}

func orNull(s *string) string {
	if s == nil {
		return "null"
	}
	return *s
}

// allEntities are all topics, or all brokers and their default.
func allEntities(ctx context.Context, cl *kgo.Client, kind string) ([]entity, error) {
	var out []entity
	admin := kadm.NewClient(cl)
	if kind == "topics" {
		topics, err := admin.ListTopicsWithInternal(ctx)
		for _, name := range topics.Names() {
			out = append(out, entity{kind, name, true})
		}
		return out, explain(err)
	}
	brokers, err := admin.ListBrokers(ctx)
	ids := brokers.NodeIDs()
	slices.Sort(ids)
	for _, id := range ids {
		out = append(out, entity{kind, strconv.Itoa(int(id)), true})
	}
	return append(out, entity{kind, "", true}), explain(err)
}

func describeEntity(ctx context.Context, cl *kgo.Client, e entity) ([]kmsg.DescribeConfigsResponseResourceConfig, error) {
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.IncludeSynonyms = true
	r := kmsg.NewDescribeConfigsRequestResource()
	r.ResourceType, r.ResourceName = e.resource(), e.name
	req.Resources = append(req.Resources, r)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return nil, brokerGone(e, err)
	}
	if len(resp.Resources) == 0 {
		return nil, fmt.Errorf("%s: the broker's answer is empty", e)
	}
	got := &resp.Resources[0]
	if err := kafkaError(got.ErrorCode, got.ErrorMessage); err != nil {
		return nil, fmt.Errorf("%s: %w", e, err)
	}
	return got.Configs, nil
}
