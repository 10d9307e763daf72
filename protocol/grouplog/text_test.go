package grouplog

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"barnabas/log/batch"
)

// batches splits a segment file.
func batches(t testing.TB, name string) [][]byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	for len(b) > 0 {
		h, err := batch.ParseHeader(b)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, b[:h.Size()])
		b = b[h.Size():]
	}
	return out
}

func records(t testing.TB, name string) []batch.Record {
	t.Helper()
	var out []batch.Record
	for _, b := range batches(t, name) {
		h, _ := batch.ParseHeader(b)
		for r, err := range batch.Records(b, nil) {
			if err != nil {
				t.Fatal(err)
			}
			if !h.Control() {
				out = append(out, r)
			}
		}
	}
	return out
}

func golden(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The .dump, .offsets and .groups files were printed by the tools of Apache
// Kafka 3.9 for the .log files beside them.

func TestDumpTextIsKafkas(t *testing.T) {
	for _, name := range []string{"versions", "consumers", "transaction"} {
		var got strings.Builder
		for _, r := range records(t, name+".log") {
			k, p := DumpText(r.Offset, r.Key, r.Value)
			if k != "" {
				got.WriteString(" key: " + k)
			}
			if p != "" {
				got.WriteString(" payload: " + p)
			}
			got.WriteString("\n")
		}
		if d := cmp.Diff(golden(t, name+".dump"), got.String()); d != "" {
			t.Errorf("%s: -kafka +ours\n%s", name, d)
		}
	}
}

func TestMessageTextIsKafkas(t *testing.T) {
	for kind, file := range map[KeyKind]string{KeyOffset: "versions.offsets", KeyGroup: "versions.groups"} {
		got := ""
		for _, r := range records(t, "versions.log") {
			// Kafka's formatters throw at null keys, and at values too short for
			// an unknown key.
			if r.Key != nil && (r.Value == nil || len(r.Value) > 2) {
				got += fmt.Sprintf("%d %s\n", r.Offset, MessageText(kind, r.Key, r.Value))
			}
		}
		if d := cmp.Diff(golden(t, file), got); d != "" {
			t.Errorf("%s: -kafka +ours\n%s", file, d)
		}
	}
}
