package tools

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/protocol"
)

func (t *tool) apiVersionsCommand() *cobra.Command {
	f := &clientFlags{}
	cmd := &cobra.Command{
		Use:   "broker-api-versions",
		Short: "Print which requests the brokers serve, in which versions",
		Long: `Print which requests the brokers serve, in which versions.
Flags and output are those of kafka-broker-api-versions.sh of Kafka 3.9.`,
		Example: `  barnabas broker-api-versions --bootstrap-server broker1:9092`,
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return t.apiVersions(cmd.Context(), f) },
	}
	f.register(cmd, "command-config")
	return cmd
}

func (t *tool) apiVersions(ctx context.Context, f *clientFlags) error {
	ctx, cl, done, err := t.dial(ctx, f)
	if err != nil {
		return err
	}
	defer done()
	brokers, err := kadm.NewClient(cl).ListBrokers(ctx)
	if err != nil {
		return explain(err)
	}
	slices.SortFunc(brokers, func(a, b kadm.BrokerDetail) int { return cmp.Compare(a.NodeID, b.NodeID) })
	for _, b := range brokers {
		rack := "null"
		if b.Rack != nil {
			rack = *b.Rack
		}
		fmt.Fprintf(t.out, "%s:%d (id: %d rack: %s) -> ", b.Host, b.Port, b.NodeID, rack)
		req := kmsg.NewPtrApiVersionsRequest()
		req.ClientSoftwareName, req.ClientSoftwareVersion = "barnabas", "1"
		kresp, err := cl.Broker(int(b.NodeID)).RetriableRequest(ctx, req)
		if err == nil {
			err = kafkaError(kresp.(*kmsg.ApiVersionsResponse).ErrorCode, nil)
		}
		if err != nil {
			fmt.Fprintf(t.out, "ERROR: %v\n", explain(err))
			continue
		}
		printVersions(t.out, kresp.(*kmsg.ApiVersionsResponse).ApiKeys)
	}
	return nil
}

// otherKeys are the requests that the clients of Kafka 3.9 know besides those
// that a broker beside ZooKeeper serves, with the newest version.
var otherKeys = map[int16]struct {
	name string
	max  int16
}{
	55: {"DescribeQuorum", 2}, 64: {"UnregisterBroker", 0}, 71: {"GetTelemetrySubscriptions", 0}, 72: {"PushTelemetry", 0},
	74: {"ListClientMetricsResources", 0}, 75: {"DescribeTopicPartitions", 0}, 76: {"ShareGroupHeartbeat", 0},
	77: {"ShareGroupDescribe", 0}, 78: {"ShareFetch", 0}, 79: {"ShareAcknowledge", 0}, 80: {"AddRaftVoter", 0},
	81: {"RemoveRaftVoter", 0}, 83: {"InitializeShareGroupState", 0}, 84: {"ReadShareGroupState", 0},
	85: {"WriteShareGroupState", 0}, 86: {"DeleteShareGroupState", 0}, 87: {"ReadShareGroupStateSummary", 0},
}

// knownKey is the name of a request that Kafka's clients know, and its newest
// version there.
func knownKey(key int16) (name string, newest int16, ok bool) {
	if _, newest, ok := protocol.Supported(key); ok {
		return protocol.KeyName(key), newest, true
	}
	other, ok := otherKeys[key]
	return other.name, other.max, ok
}

// printVersions prints as NodeApiVersions.toString does.
func printVersions(w io.Writer, served []kmsg.ApiVersionsResponseApiKey) {
	lines := map[int16]string{}
	for _, k := range served {
		versions := fmt.Sprintf("%d to %d", k.MinVersion, k.MaxVersion)
		if k.MinVersion == k.MaxVersion {
			versions = fmt.Sprint(k.MinVersion)
		}
		name, newest, ok := knownKey(k.ApiKey)
		switch {
		case !ok:
			lines[k.ApiKey] = fmt.Sprintf("UNKNOWN(%d): %s", k.ApiKey, versions)
		case newest < k.MinVersion:
			lines[k.ApiKey] = fmt.Sprintf("%s(%d): %s [unusable: node too new]", name, k.ApiKey, versions)
		default:
			lines[k.ApiKey] = fmt.Sprintf("%s(%d): %s [usable: %d]", name, k.ApiKey, versions, min(newest, k.MaxVersion))
		}
	}
	for key := range int16(100) {
		if name, _, ok := knownKey(key); ok && lines[key] == "" {
			lines[key] = fmt.Sprintf("%s(%d): UNSUPPORTED", name, key)
		}
	}
	var keys []int16
	for key := range lines {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	var sorted []string
	for _, key := range keys {
		sorted = append(sorted, "\t"+lines[key])
	}
	fmt.Fprintf(w, "(\n%s\n)\n", strings.Join(sorted, ",\n"))
}
