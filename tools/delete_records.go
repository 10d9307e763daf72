package tools

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/internal/kafka"
)

// deleteRecordsFlags are those of kafka-delete-records.sh.
type deleteRecordsFlags struct {
	clientFlags
	file string
}

func (t *tool) deleteRecordsCommand() *cobra.Command {
	f := &deleteRecordsFlags{}
	cmd := &cobra.Command{
		Use:   "delete-records",
		Short: "Delete the records of partitions below given offsets",
		Long: `Delete the records of partitions below given offsets; -1 deletes all.
The offsets stand in a JSON file:

  {"partitions": [{"topic": "orders", "partition": 0, "offset": 1000}], "version": 1}

Flags and output are those of kafka-delete-records.sh.`,
		Example: `  barnabas delete-records --offset-json-file offsets.json`,
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return t.deleteRecords(cmd.Context(), f) },
	}
	f.register(cmd, "command-config")
	cmd.Flags().StringVar(&f.file, "offset-json-file", "", "the file with the offsets (required)")
	return cmd
}

func (t *tool) deleteRecords(ctx context.Context, f *deleteRecordsFlags) error {
	if f.file == "" {
		return usagef("Missing required argument %q", "[offset-json-file]")
	}
	text, err := os.ReadFile(f.file)
	if err != nil {
		return fmt.Errorf("Unable to read file %s: %w", f.file, err)
	}
	offsets, err := parseOffsetFile(text)
	if err != nil {
		return err
	}
	ctx, cl, done, err := t.dial(ctx, &f.clientFlags)
	if err != nil {
		return err
	}
	defer done()
	fmt.Fprintln(t.out, "Executing records delete operation")
	results := deleteOffsets(ctx, cl, offsets)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	fmt.Fprintln(t.out, "Records delete operation completed:")
	for _, r := range results {
		fmt.Fprintf(t.out, "partition: %s\t%s\n", r.tp, r.text)
	}
	return nil
}

// deletionResult is what the tool prints of a partition.
type deletionResult struct {
	tp   kafka.TopicPartition
	text string
}

// deleteOffsets asks every leader, and sorts what they say.
func deleteOffsets(ctx context.Context, cl *kgo.Client, offsets []partitionOffset) []deletionResult {
	var out []deletionResult
	for _, shard := range cl.RequestSharded(ctx, deletionRequest(offsets)) {
		if shard.Err != nil { // of all that was asked in this part
			for _, rt := range shard.Req.(*kmsg.DeleteRecordsRequest).Topics {
				for _, p := range rt.Partitions {
					tp := kafka.TopicPartition{Topic: rt.Topic, Partition: p.Partition}
					out = append(out, deletionResult{tp, "error: " + javaException(shard.Err) + ": " + explain(shard.Err).Error()})
				}
			}
			continue
		}
		for _, rt := range shard.Resp.(*kmsg.DeleteRecordsResponse).Topics {
			for _, p := range rt.Partitions {
				r := deletionResult{kafka.TopicPartition{Topic: rt.Topic, Partition: p.Partition}, fmt.Sprintf("low_watermark: %d", p.LowWatermark)}
				if p.ErrorCode != 0 {
					r.text = "error: " + javaError(p.ErrorCode)
				}
				out = append(out, r)
			}
		}
	}
	slices.SortFunc(out, func(a, b deletionResult) int {
		return cmp.Or(cmp.Compare(a.tp.Topic, b.tp.Topic), cmp.Compare(a.tp.Partition, b.tp.Partition))
	})
	return out
}

// partitionOffset is one entry of the offset file.
type partitionOffset struct {
	tp     kafka.TopicPartition
	offset int64
}

// parseOffsetFile reads the file's version 1, which is also the default.
func parseOffsetFile(text []byte) ([]partitionOffset, error) {
	var file struct {
		Version    *int `json:"version"`
		Partitions *[]struct {
			Topic     *string `json:"topic"`
			Partition *int32  `json:"partition"`
			Offset    *int64  `json:"offset"`
		} `json:"partitions"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		if _, ok := errors.AsType[*json.SyntaxError](err); ok {
			return nil, errors.New("The input string is not a valid JSON")
		}
		return nil, err
	}
	if file.Version != nil && *file.Version != 1 {
		return nil, fmt.Errorf("Not supported version field value %d", *file.Version)
	}
	if file.Partitions == nil {
		return nil, errors.New("Missing partitions field")
	}
	var out []partitionOffset
	seen := map[kafka.TopicPartition]bool{}
	var twice []string
	for _, p := range *file.Partitions {
		switch {
		case p.Topic == nil:
			return nil, errors.New("No such field exists: `topic`")
		case p.Partition == nil:
			return nil, errors.New("No such field exists: `partition`")
		case p.Offset == nil:
			return nil, errors.New("No such field exists: `offset`")
		}
		tp := kafka.TopicPartition{Topic: *p.Topic, Partition: *p.Partition}
		if seen[tp] && !slices.Contains(twice, tp.String()) {
			twice = append(twice, tp.String())
		}
		seen[tp] = true
		out = append(out, partitionOffset{tp, *p.Offset})
	}
	if len(twice) > 0 {
		return nil, fmt.Errorf("Offset json file contains duplicate topic partitions: %s", strings.Join(twice, ","))
	}
	return out, nil
}

func deletionRequest(offsets []partitionOffset) *kmsg.DeleteRecordsRequest {
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.TimeoutMillis = 30_000
	at := map[string]int{}
	for _, o := range offsets {
		i, ok := at[o.tp.Topic]
		if !ok {
			i = len(req.Topics)
			at[o.tp.Topic] = i
			rt := kmsg.NewDeleteRecordsRequestTopic()
			rt.Topic = o.tp.Topic
			req.Topics = append(req.Topics, rt)
		}
		rp := kmsg.NewDeleteRecordsRequestTopicPartition()
		rp.Partition, rp.Offset = o.tp.Partition, o.offset
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, rp)
	}
	return req
}
