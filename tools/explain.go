package tools

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/cluster/journal"
	"barnabas/protocol"
)

type explainFlags struct {
	clientFlags
	json bool
}

func (t *tool) explainCommand() *cobra.Command {
	f := &explainFlags{}
	cmd := &cobra.Command{
		Use:   "explain TOPIC-PARTITION | broker N | controller | group GROUP",
		Short: "Say who leads a partition, since when, why, and what is missing",
		Long: `Say in plain words who leads a partition, since when and why, and what is missing
for it to be healthy; or the same of a broker, or of the controller.

Every broker remembers the reasons of the last changes; all are asked, and the
one that remembers most answers. With --zookeeper, and no broker, the change log
that is kept in ZooKeeper is read.`,
		Example: `  barnabas explain orders-0
  barnabas explain broker 1 --bootstrap-server broker2:9092
  barnabas explain controller
  barnabas explain group audit
  barnabas explain orders-0 --zookeeper zk1:2181/kafka`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 || len(args) > 2 {
				return usagef("What shall be explained? A partition (orders-0), \"broker N\", or \"controller\"")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.explain(cmd.Context(), f, strings.Join(args, " "))
		},
	}
	cmd.AddCommand(t.explainGroupCommand())
	f.register(cmd, "command-config")
	cmd.Flags().StringVar(&f.zookeeper, "zookeeper", "", "read ZooKeeper (zookeeper.connect of the brokers) in place of asking brokers")
	cmd.Flags().BoolVar(&f.json, "json", false, "print the facts as JSON")
	return cmd
}

func (t *tool) explain(ctx context.Context, f *explainFlags, subject string) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	e, err := t.explanation(ctx, f, subject)
	if err != nil {
		return err
	}
	if f.json {
		enc := json.NewEncoder(t.out)
		enc.SetIndent("", "  ")
		return enc.Encode(e)
	}
	fmt.Fprint(t.out, e)
	return nil
}

func (t *tool) explanation(ctx context.Context, f *explainFlags, subject string) (*journal.Explanation, error) {
	if f.zookeeper != "" {
		if f.bootstrap != "" {
			return nil, usagef("--zookeeper reads ZooKeeper; leave --bootstrap-server out")
		}
		return explainFromZooKeeper(ctx, f.zookeeper, subject)
	}
	props, err := f.load()
	if err != nil {
		return nil, err
	}
	cl, err := t.connect(ctx, &f.clientFlags, props)
	if err != nil {
		return nil, fmt.Errorf("%w\n--zookeeper reads the reasons from ZooKeeper", err)
	}
	defer cl.Close()
	brokers, err := kadm.NewClient(cl).ListBrokers(ctx)
	if err != nil {
		return nil, explain(err)
	}
	var best *journal.Explanation
	for _, id := range brokers.NodeIDs() {
		e, aerr := askToExplain(ctx, cl.Broker(int(id)), subject)
		switch {
		case aerr != nil:
			err = aerr
		case best == nil || remembers(e) > remembers(best):
			best = e
		}
	}
	if best == nil {
		return nil, err
	}
	return best, nil
}

// remembers counts what a broker knows of the past.
func remembers(e *journal.Explanation) int {
	switch {
	case e.Partition != nil:
		return len(e.Partition.History)
	case e.Broker != nil:
		return len(e.Broker.History)
	case e.Controller != nil:
		return len(e.Controller.Reigns)
	}
	return 0
}

// explainWait bounds the wait for one broker: one that has just died is still
// listed.
const explainWait = 2 * time.Second

func askToExplain(ctx context.Context, b *kgo.Broker, subject string) (*journal.Explanation, error) {
	req := kmsg.NewPtrDescribeConfigsRequest()
	r := kmsg.NewDescribeConfigsRequestResource()
	r.ResourceType, r.ResourceName = protocol.ResourceExplanation, subject
	req.Resources = append(req.Resources, r)
	ctx, cancel := context.WithTimeout(ctx, explainWait)
	defer cancel()
	resp, err := b.Request(ctx, req)
	if err != nil {
		return nil, err
	}
	got := resp.(*kmsg.DescribeConfigsResponse).Resources
	if len(got) != 1 {
		return nil, errors.New("the broker's answer is empty")
	}
	if err := kafkaError(got[0].ErrorCode, got[0].ErrorMessage); err != nil {
		if errors.Is(err, kerr.InvalidRequest) && !strings.HasPrefix(err.Error(), journal.ErrSubject.Error()) {
			return nil, errors.New("the broker knows no explanations; is it one of Barnabas, and not too old?")
		}
		return nil, errors.New(strings.TrimPrefix(err.Error(), journal.ErrSubject.Error()+": "))
	}
	if len(got[0].Configs) != 1 || got[0].Configs[0].Value == nil {
		return nil, errors.New("the broker's answer is empty")
	}
	e := new(journal.Explanation)
	if err := json.Unmarshal([]byte(*got[0].Configs[0].Value), e); err != nil {
		return nil, fmt.Errorf("the broker's answer is not understood: %w", err)
	}
	return e, nil
}
