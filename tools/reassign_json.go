package tools

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"barnabas/internal/kafka"
)

// anyDir leaves the choice of the log directory to the broker.
const anyDir = "any"

// wantedPartition is an element of a reassignment's JSON.
type wantedPartition struct {
	Topic     string   `json:"topic"`
	Partition int32    `json:"partition"`
	Replicas  []int32  `json:"replicas"`
	LogDirs   []string `json:"log_dirs"`
}

func (w *wantedPartition) tp() kafka.TopicPartition {
	return kafka.TopicPartition{Topic: w.Topic, Partition: w.Partition}
}

// wantedJSON writes partitions as ReassignPartitionsCommand does.
func wantedJSON(list []wantedPartition) string {
	out := struct {
		Version    int               `json:"version"`
		Partitions []wantedPartition `json:"partitions"`
	}{1, sortedWanted(list)}
	for i := range out.Partitions {
		w := &out.Partitions[i]
		if w.Replicas == nil {
			w.Replicas = []int32{}
		}
		w.LogDirs = make([]string, len(w.Replicas))
		for j := range w.LogDirs {
			w.LogDirs[j] = anyDir
		}
	}
	b := bytes.Buffer{}
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(out) // plain values
	return strings.TrimSpace(b.String())
}

// sortedWanted is a copy by topic and partition.
func sortedWanted(list []wantedPartition) []wantedPartition {
	return slices.SortedFunc(slices.Values(append([]wantedPartition{}, list...)), func(a, b wantedPartition) int {
		return cmp.Or(strings.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
}

func wantedNames(list []wantedPartition) string {
	var names []string
	for _, w := range sortedWanted(list) {
		names = append(names, w.tp().String())
	}
	return strings.Join(names, ",")
}

func topicsOf(list []wantedPartition) []string {
	var names []string
	for _, w := range sortedWanted(list) {
		if n := len(names); n == 0 || names[n-1] != w.Topic {
			names = append(names, w.Topic)
		}
	}
	return names
}

// readWanted reads --reassignment-json-file.
func readWanted(name string) ([]wantedPartition, error) {
	b, err := readFile(name)
	if err != nil {
		return nil, err
	}
	list, err := parseWanted(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return list, nil
}

func parseWanted(b []byte) ([]wantedPartition, error) {
	var v struct {
		Version    *int `json:"version"`
		Partitions []struct {
			Topic     *string  `json:"topic"`
			Partition *int32   `json:"partition"`
			Replicas  *[]int32 `json:"replicas"`
			LogDirs   []string `json:"log_dirs"`
		} `json:"partitions"`
	}
	if err := decodeJSON(b, &v, &v.Version); err != nil {
		return nil, err
	}
	var list []wantedPartition
	for i, p := range v.Partitions {
		if p.Topic == nil || p.Partition == nil || p.Replicas == nil {
			return nil, fmt.Errorf("element %d of \"partitions\" needs a topic, a partition and replicas", i)
		}
		w := wantedPartition{Topic: *p.Topic, Partition: *p.Partition, Replicas: *p.Replicas, LogDirs: p.LogDirs}
		if w.LogDirs != nil && len(w.LogDirs) != len(w.Replicas) {
			return nil, fmt.Errorf("Size of replicas list [%s] is different from size of log dirs list [%s] for partition %s", //nolint:staticcheck // Kafka's words
				joinIDs(w.Replicas), strings.Join(w.LogDirs, ", "), w.tp())
		}
		list = append(list, w)
	}
	return list, nil
}

// readTopics reads --topics-to-move-json-file.
func readTopics(name string) ([]string, error) {
	b, err := readFile(name)
	if err != nil {
		return nil, err
	}
	var v struct {
		Version *int `json:"version"`
		Topics  []struct {
			Topic *string `json:"topic"`
		} `json:"topics"`
	}
	if err := decodeJSON(b, &v, &v.Version); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	var topics []string
	for i, t := range v.Topics {
		if t.Topic == nil {
			return nil, fmt.Errorf("%s: element %d of \"topics\" has no topic", name, i)
		}
		topics = append(topics, *t.Topic)
	}
	if twice := duplicates(topics); len(twice) > 0 {
		return nil, fmt.Errorf("List of topics to reassign contains duplicate entries: [%s]", strings.Join(twice, ", ")) //nolint:staticcheck // Kafka's words
	}
	return topics, nil
}

// decodeJSON decodes one document of version 1, which is the default.
func decodeJSON(b []byte, v any, version **int) error {
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("The input string is not a valid JSON: %w", err) //nolint:staticcheck // Kafka's words
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("The input string is not a valid JSON: something follows the end") //nolint:staticcheck // Kafka's words
	}
	if *version != nil && **version != 1 {
		return fmt.Errorf("Not supported version field value %d", **version) //nolint:staticcheck // Kafka's words
	}
	return nil
}

// checkWanted refuses what --execute can't begin with.
func checkWanted(list []wantedPartition) error {
	if len(list) == 0 {
		return fmt.Errorf("Partition reassignment list cannot be empty") //nolint:staticcheck // Kafka's words
	}
	var names, twice []string
	for i := range list {
		w := &list[i]
		names = append(names, w.tp().String())
		if len(w.Replicas) == 0 {
			return fmt.Errorf("Partition replica list cannot be empty") //nolint:staticcheck // Kafka's words
		}
		if d := duplicates(w.Replicas); len(d) > 0 {
			twice = append(twice, fmt.Sprintf("%s contains multiple entries for %s", w.tp(), joinIDs(d)))
		}
	}
	if d := duplicates(names); len(d) > 0 {
		return fmt.Errorf("Partition reassignment contains duplicate topic partitions: %s", strings.Join(d, ",")) //nolint:staticcheck // Kafka's words
	}
	if len(twice) > 0 {
		return fmt.Errorf("Partition replica lists may not contain duplicate entries: %s", strings.Join(twice, ". ")) //nolint:staticcheck // Kafka's words
	}
	return nil
}
