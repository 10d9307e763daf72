package tools

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/protocol"
)

// logDirsFlags are those of kafka-log-dirs.sh.
type logDirsFlags struct {
	clientFlags
	describe           bool
	topics, brokerList string
}

func (t *tool) logDirsCommand() *cobra.Command {
	f := &logDirsFlags{}
	cmd := &cobra.Command{
		Use:   "log-dirs",
		Short: "Print the sizes of replicas in the brokers' log directories, as JSON",
		Long: `Print the sizes of replicas in the brokers' log directories, as JSON.
Flags and output are those of kafka-log-dirs.sh.`,
		Example: `  barnabas log-dirs --describe
  barnabas log-dirs --describe --topic-list orders,audit --broker-list 1,2`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return t.logDirs(cmd.Context(), f) },
	}
	f.register(cmd, "command-config")
	p := cmd.Flags()
	p.BoolVar(&f.describe, "describe", false, "describe the log directories (required)")
	p.StringVar(&f.topics, "topic-list", "", "topics, with commas; by default all")
	p.StringVar(&f.brokerList, "broker-list", "", "ids of brokers, with commas; by default all")
	return cmd
}

func (t *tool) logDirs(ctx context.Context, f *logDirsFlags) error {
	if !f.describe {
		return usagef("Missing required argument %q", "[describe]")
	}
	ctx, cl, done, err := t.dial(ctx, &f.clientFlags)
	if err != nil {
		return err
	}
	defer done()
	brokers, err := f.brokers(ctx, cl)
	if err != nil {
		return err
	}
	fmt.Fprintln(t.out, "Querying brokers for log directories information")
	view := logDirsView{Version: 1, Brokers: []logDirsBroker{}}
	for _, b := range brokers {
		dirs, err := describeLogDirs(ctx, cl.Broker(int(b)), nonEmpty(f.topics))
		if err != nil {
			return fmt.Errorf("broker %d: %w", b, err)
		}
		view.Brokers = append(view.Brokers, logDirsBroker{b, dirs})
	}
	fmt.Fprintf(t.out, "Received log directory information from brokers %s\n", joinIDs(brokers))
	enc := json.NewEncoder(t.out)
	enc.SetEscapeHTML(false)
	return enc.Encode(view)
}

// brokers are those of --broker-list, or all.
func (f *logDirsFlags) brokers(ctx context.Context, cl *kgo.Client) ([]int32, error) {
	live, err := kadm.NewClient(cl).ListBrokers(ctx)
	if err != nil {
		return nil, explain(err)
	}
	ids := live.NodeIDs()
	slices.Sort(ids)
	var asked, missing []int32
	for _, s := range nonEmpty(f.brokerList) {
		n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 32)
		if err != nil {
			return nil, usagef("%q of --broker-list is not the id of a broker", s)
		}
		if slices.Contains(asked, int32(n)) {
			continue
		}
		asked = append(asked, int32(n))
		if !slices.Contains(ids, int32(n)) {
			missing = append(missing, int32(n))
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("ERROR: The given brokers do not exist from --broker-list: %s. Current existent brokers: %s", joinIDs(missing), joinIDs(ids))
	}
	if len(asked) == 0 {
		return ids, nil
	}
	return asked, nil
}

// logDirsView and its parts are the JSON of LogDirsCommand.
type logDirsView struct {
	Brokers []logDirsBroker `json:"brokers"`
	Version int             `json:"version"`
}

type logDirsBroker struct {
	Broker  int32         `json:"broker"`
	LogDirs []logDirsPath `json:"logDirs"`
}

type logDirsPath struct {
	Partitions []logDirsPartition `json:"partitions"`
	Error      *string            `json:"error"` // a Java class
	LogDir     string             `json:"logDir"`
}

type logDirsPartition struct {
	Partition string `json:"partition"`
	Size      int64  `json:"size"`
	OffsetLag int64  `json:"offsetLag"`
	IsFuture  bool   `json:"isFuture"`
}

// describeLogDirs asks one broker. All topics are asked for and the rest left
// out here, as Kafka's tool does: a directory without any is shown as well.
func describeLogDirs(ctx context.Context, b *kgo.Broker, topics []string) ([]logDirsPath, error) {
	req := kmsg.NewPtrDescribeLogDirsRequest()
	kresp, err := b.RetriableRequest(ctx, req)
	if err != nil {
		return nil, explain(err)
	}
	resp := kresp.(*kmsg.DescribeLogDirsResponse)
	if err := kafkaError(resp.ErrorCode, nil); err != nil {
		return nil, err
	}
	out := []logDirsPath{}
	for _, d := range resp.Dirs {
		dir := logDirsPath{Partitions: []logDirsPartition{}, LogDir: d.Dir}
		if d.ErrorCode != 0 {
			class := javaClass(protocol.Error(d.ErrorCode))
			dir.Error = &class
		}
		for _, rt := range d.Topics {
			if len(topics) > 0 && !slices.Contains(topics, rt.Topic) {
				continue
			}
			for _, p := range rt.Partitions {
				dir.Partitions = append(dir.Partitions, logDirsPartition{fmt.Sprintf("%s-%d", rt.Topic, p.Partition), p.Size, p.OffsetLag, p.IsFuture})
			}
		}
		out = append(out, dir)
	}
	return out, nil
}

// nonEmpty splits at commas and leaves out what is empty.
func nonEmpty(list string) []string {
	return slices.DeleteFunc(strings.Split(list, ","), func(s string) bool { return s == "" })
}

func joinIDs(ids []int32) string {
	var out []string
	for _, id := range ids {
		out = append(out, strconv.Itoa(int(id)))
	}
	return strings.Join(out, ",")
}
