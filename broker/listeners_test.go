package broker_test

import (
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/zkpaths"
	"barnabas/zkpaths/session"
)

// dialTo connects to a listener.
func (n *node) dialTo(listener string) *conn {
	n.t.Helper()
	c, err := net.Dial("tcp", n.Addr(listener).String())
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { c.Close() })
	return &conn{Conn: c, t: n.t, id: "test"}
}

// TestListenersByName: clients are told the addresses of the listener that they
// ask on, and each listener has its own bound of connections, which a dynamic
// config changes.
func TestListenersByName(t *testing.T) {
	n := start(t, map[string]string{
		"listeners":                             "PLAINTEXT://127.0.0.1:0,OUTSIDE://127.0.0.1:0,HIDDEN://127.0.0.1:0",
		"advertised.listeners":                  "PLAINTEXT://127.0.0.1:0,OUTSIDE://kafka.example.com:9094",
		"listener.security.protocol.map":        "PLAINTEXT:PLAINTEXT,OUTSIDE:PLAINTEXT,HIDDEN:PLAINTEXT",
		"listener.name.outside.max.connections": "1",
	})
	metadata := func(c *conn) []kmsg.MetadataResponseBroker {
		req := kmsg.NewPtrMetadataRequest()
		req.Topics = []kmsg.MetadataRequestTopic{}
		return c.do(req, 9).(*kmsg.MetadataResponse).Brokers
	}
	if b := metadata(n.dialTo("PLAINTEXT")); len(b) != 1 || b[0].Host != "127.0.0.1" || int(b[0].Port) != n.Addr("PLAINTEXT").(*net.TCPAddr).Port {
		t.Errorf("on PLAINTEXT: %+v", b)
	}
	if b := metadata(n.dialTo("HIDDEN")); len(b) != 0 {
		t.Errorf("on a listener that is not advertised: %+v", b)
	}
	first := n.dialTo("OUTSIDE")
	if b := metadata(first); len(b) != 1 || b[0].Host != "kafka.example.com" || b[0].Port != 9094 {
		t.Errorf("on OUTSIDE: %+v", b)
	}
	second := n.dialTo("OUTSIDE")
	second.write(kmsg.NewPtrApiVersionsRequest(), 0)
	if err := second.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := second.Read(make([]byte, 1)); err == nil {
		t.Fatal("a second connection is served beside the only one allowed")
	}

	zk, err := session.Open(t.Context(), session.Options{Connect: n.values["zookeeper.connect"], Logger: slog.New(slog.DiscardHandler), OnEvent: func(session.Event) {}})
	if err != nil {
		t.Fatal(err)
	}
	defer zk.Close()
	values := zkpaths.EncodeConfig(map[string]string{"listener.name.outside.max.connections": "2", "max.connections.per.ip.overrides": "localhost:5"})
	if _, err := zk.CreateAll(t.Context(), zkpaths.ConfigPath(zkpaths.ConfigBrokers, zkpaths.DefaultEntity), values, session.Persistent); err != nil {
		t.Fatal(err)
	}
	if _, err := second.frame(); err != nil { // now it is accepted
		t.Errorf("the second, after the limit was raised: %v", err)
	}
	// Four are open, and this address may have five.
	metadata(n.dialTo("PLAINTEXT"))
	if _, err := n.dialTo("PLAINTEXT").Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("a sixth connection of an address that may have five: %v, want its end", err)
	}
}
