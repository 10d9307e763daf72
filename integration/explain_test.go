//go:build integration

package integration

import (
	"strings"
	"testing"
)

// TestExplainTool: by a broker while there is one, and from ZooKeeper when there
// is none.
func TestExplainTool(t *testing.T) {
	b := newBroker(t)
	createTopic(t, b, "t", 1)
	got := barnabas(t, "", "explain", "t-0", "--bootstrap-server", b.addr)
	for _, part := range []string{"t-0 is led by broker 1, in leader epoch 0.", "why:   the topic was created", "It is healthy."} {
		if !strings.Contains(got, part) {
			t.Errorf("no %q in\n%s", part, got)
		}
	}
	for _, subject := range []string{"t-0", "broker 1", "controller"} {
		asked := barnabas(t, "", append(append([]string{"explain"}, strings.Fields(subject)...), "--bootstrap-server", b.addr)...)
		read := barnabas(t, "", append(append([]string{"explain"}, strings.Fields(subject)...), "--zookeeper", b.zk)...)
		if withoutAges(asked) != withoutAges(read) {
			t.Errorf("%s: the broker says\n%s\nZooKeeper says\n%s", subject, asked, read)
		}
	}
	if r := run(t, "", binary, "explain", "none-0", "--bootstrap-server", b.addr); r.err == nil || !strings.Contains(r.stderr, "there is no topic none") {
		t.Errorf("an unknown topic: %v %q", r.err, r.stderr)
	}
	b.proc.Kill()
	eventually(t, patience, "the session ends", func() error {
		got = barnabas(t, "", "explain", "controller", "--zookeeper", b.zk)
		if !strings.Contains(got, "There is no controller") {
			return errorText(got)
		}
		return nil
	})
	got = barnabas(t, "", "explain", "t-0", "--zookeeper", b.zk)
	if !strings.Contains(got, "  * broker 1 is not alive") {
		t.Errorf("with no broker:\n%s", got)
	}
	if r := run(t, "", binary, "explain", "t-0", "--bootstrap-server", b.addr); r.err == nil || !strings.Contains(r.stderr, "--zookeeper reads the reasons") {
		t.Errorf("no broker answers: %v %q", r.err, r.stderr)
	}
}

type errorText string

func (e errorText) Error() string { return string(e) }

// withoutAges drops how long ago something was.
func withoutAges(s string) string {
	var kept []string
	for line := range strings.Lines(s) {
		before, _, _ := strings.Cut(line, " (")
		if strings.HasPrefix(line, "  since:") {
			line = before + "\n"
		}
		kept = append(kept, line)
	}
	return strings.Join(kept, "")
}
