package tools

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"barnabas/brokertest"
	"barnabas/protocol/groupstory"
)

func TestGroupsLagSeconds(t *testing.T) {
	var b bytes.Buffer
	rows := []offsetRow{
		{topic: "orders", partition: 0, committed: 10, end: 12},
		{topic: "orders", partition: 1, committed: 5, end: 7},
		{topic: "orders", partition: 2, committed: 7, end: 7},
		{topic: "orders", partition: 3, committed: -1, end: 7},
	}
	takeAges(rows, []groupstory.Lag{
		{Topic: "orders", Partition: 0, Records: 2, Millis: 90500},
		{Topic: "orders", Partition: 1, Records: 2, Millis: -1},
		{Topic: "orders", Partition: 2, Records: 1, Millis: 5}, // it has committed since
	})
	formatOffsets(&b, "audit", rows, true)
	want := `
GROUP           TOPIC           PARTITION  CURRENT-OFFSET  LOG-END-OFFSET  LAG             CONSUMER-ID     HOST            CLIENT-ID       LAG-SECONDS
audit           orders          0          10              12              2               -               -               -               90.5
audit           orders          1          5               7               2               -               -               -               -
audit           orders          2          7               7               0               -               -               -               0.0
audit           orders          3          -               7               -               -               -               -               -
`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

func TestResetTimes(t *testing.T) {
	day := time.Date(2026, 1, 31, 8, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"2026-01-31T08:00:00.000": day, "2026-01-31T08:00:00.000Z": day, "2026-01-31T09:00:00.000+01:00": day,
		"2026-01-31T09:30:00.000+0130": day, "2026-01-31T07:00:00.000-01": day, "2026-01-31T08:00:00.250": day.Add(250 * time.Millisecond),
	} {
		if got, err := parseDatetime(text); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, bad := range []string{"", "2026-01-31", "2026-13-31T08:00:00.000", "yesterday", "T"} {
		if got, err := parseDatetime(bad); err == nil {
			t.Errorf("%q is %v", bad, got)
		}
	}
	for text, want := range map[string]time.Duration{
		"P1D": 24 * time.Hour, "PT1H": time.Hour, "P1DT2H3M4.5S": 26*time.Hour + 3*time.Minute + 4500*time.Millisecond,
		"pt5m": 5 * time.Minute, "-PT1M": -time.Minute, "PT-6H": -6 * time.Hour, "+PT0S": 0,
	} {
		if got, err := parseJavaDuration(text); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, bad := range []string{"", "P", "PT", "1D", "P1", "P1H", "PT1D", "PT1M1H", "P1DT", "PT1.5M", "P9999999D", "PTxS", "P1D1D"} {
		if got, err := parseJavaDuration(bad); err == nil {
			t.Errorf("%q is %v", bad, got)
		}
	}
}

func plan(offsets ...kadm.Offset) kadm.Offsets {
	p := kadm.Offsets{}
	for _, o := range offsets {
		o.LeaderEpoch = -1
		p.Add(o)
	}
	return p
}

// TestPlansComeBack: what --export writes --from-file reads.
func TestPlansComeBack(t *testing.T) {
	one := map[string]kadm.Offsets{"g": plan(kadm.Offset{Topic: "t", Partition: 0, At: 5}, kadm.Offset{Topic: "u", Partition: 10, At: 0})}
	two := map[string]kadm.Offsets{"g,h": plan(kadm.Offset{Topic: "t", At: 5}), "i": plan(kadm.Offset{Topic: "t", At: 6})}
	for _, test := range []struct {
		plans  map[string]kadm.Offsets
		groups []string
		want   string
	}{
		{one, []string{"g"}, "t,0,5\nu,10,0\n\n"},
		{two, []string{"g,h", "i"}, "\"g,h\",t,0,5\ni,t,0,6\n\n"},
	} {
		var b bytes.Buffer
		if err := writePlans(&b, test.plans, len(test.groups) == 1); err != nil || b.String() != test.want {
			t.Errorf("%q, %v", b.String(), err)
		}
		f := groupsFlags{groups: test.groups}
		f.plan.file = filepath.Join(t.TempDir(), "plan.csv")
		if err := os.WriteFile(f.plan.file, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := f.readPlan()
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(test.plans, got); d != "" {
			t.Error(d)
		}
	}
}

func TestBadPlans(t *testing.T) {
	file := filepath.Join(t.TempDir(), "plan.csv")
	for text, want := range map[string]string{
		"":               "holds no offsets",
		"t,0":            "plan.csv:1: 2 fields",
		"t,0,1\nt,x,1":   `plan.csv:2: "x" is no partition`,
		"t,-1,1":         `"-1" is no partition`,
		"t,0,-1":         `"-1" is no offset`,
		"t,0,1,2,3":      "5 fields",
		"g,t,0,\"1":      "plan.csv",
		"t,99999999999,": "is no partition",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		f := groupsFlags{groups: []string{"g"}}
		f.plan.file = file
		if got, err := f.readPlan(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	f := groupsFlags{groups: []string{"g", "h"}}
	if _, _, err := f.planned([]string{"t", "0", "1"}); err == nil || !strings.Contains(err.Error(), "group,topic,partition,offset") {
		t.Error(err)
	}
}

func TestDeletedOffsetsFormat(t *testing.T) {
	var b bytes.Buffer
	formatDeletedOffsets(&b, []deletedOffset{{"orders", 0, nil}, {"none", -1, kerr.UnknownTopicOrPartition}})
	want := "\nTOPIC                          PARTITION       STATUS         \norders                         0               Successful     \n" +
		"none                           -               Error: This server does not host this topic-partition.\n"
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Error(d)
	}
}

// TestFirstQuestionOfGroups: a cluster that was never asked of a group answers like any
// other.
func TestFirstQuestionOfGroups(t *testing.T) {
	c := brokertest.Start(t, brokertest.Topics(brokertest.Topic{Name: "t", Partitions: 1}))
	code, _, stderr := run(t, nil, "consumer-groups", "--bootstrap-server", c.Bootstrap(), "--timeout", "60000", "--describe", "--group", "none")
	if code != 1 || !strings.Contains(stderr, "Consumer group 'none' does not exist") {
		t.Errorf("exit %d: %s", code, stderr)
	}
}
