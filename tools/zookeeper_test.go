package tools

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"barnabas/brokertest"
	"barnabas/internal/zktest"
)

// TestConsoleProducerZooKeeper: brokers are found below a chroot; what is wrong is
// said.
func TestConsoleProducerZooKeeper(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		c := brokertest.Start(t, brokertest.ZooKeeper(connect+"/kafka"), brokertest.Topics(brokertest.Topic{Name: "t"}))
		run := func(args ...string) (code int, errors string) {
			var out, errs bytes.Buffer
			code = Run(append([]string{"console-producer", "--topic", "t"}, args...), strings.NewReader("dear castle\n"), &out, &errs)
			return code, errs.String()
		}
		if code, errs := run("--zookeeper", connect+"/kafka"); code != exitOK || errs != "" {
			t.Fatalf("exit %d: %s", code, errs)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		got := c.Client(kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())).PollRecords(ctx, 1).Records()
		if len(got) != 1 || string(got[0].Value) != "dear castle" {
			t.Errorf("read %v", got)
		}
		if code, errs := run("--zookeeper", connect+"/other"); code != exitFailed || !strings.Contains(errs, "/other") || !strings.Contains(errs, "zookeeper.connect") {
			t.Errorf("a wrong path: exit %d: %s", code, errs)
		}
		if code, errs := run("--zookeeper", connect, "--bootstrap-server", "h:1"); code != exitUsage || !strings.Contains(errs, "--bootstrap-server") {
			t.Errorf("both: exit %d: %s", code, errs)
		}
	})
}
