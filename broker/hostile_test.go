package broker_test

import (
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// A small request must not make a large answer by naming one thing many times.
func TestRepetitionsAreRefused(t *testing.T) {
	n := start(t, nil)
	n.create("t", 1)
	c := n.dial()

	configs := kmsg.NewPtrDescribeConfigsRequest()
	groups := kmsg.NewPtrDescribeGroupsRequest()
	offsets := kmsg.NewPtrOffsetFetchRequest()
	for range 3 {
		configs.Resources = append(configs.Resources, kmsg.DescribeConfigsRequestResource{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "t"})
		groups.Groups = append(groups.Groups, "g")
		g := kmsg.NewOffsetFetchRequestGroup()
		g.Group = "g"
		offsets.Groups = append(offsets.Groups, g)
	}
	coordinator(c)
	got := ""
	for _, r := range c.do(configs, 4).(*kmsg.DescribeConfigsResponse).Resources {
		got += fmt.Sprintf("%d %v\n", r.ErrorCode, len(r.Configs) > 0)
	}
	eq(t, "DescribeConfigs", got, "0 true\n42 false\n42 false\n")
	got = ""
	for _, r := range c.do(groups, 5).(*kmsg.DescribeGroupsResponse).Groups {
		got += fmt.Sprintf("%d %s\n", r.ErrorCode, r.State)
	}
	eq(t, "DescribeGroups", got, "0 Dead\n42 \n42 \n")
	got = ""
	for _, r := range c.do(offsets, 9).(*kmsg.OffsetFetchResponse).Groups {
		got += fmt.Sprintf("%d\n", r.ErrorCode)
	}
	eq(t, "OffsetFetch", got, "0\n42\n42\n")
}

// coordinator waits until the broker coordinates groups.
func coordinator(c *conn) {
	c.t.Helper()
	for {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.CoordinatorKeys = []string{"g"}
		if c.do(req, 4).(*kmsg.FindCoordinatorResponse).Coordinators[0].ErrorCode == 0 {
			break
		}
	}
	for {
		const loading = 14
		req := kmsg.NewPtrDescribeGroupsRequest()
		req.Groups = []string{"g"}
		if code := c.do(req, 5).(*kmsg.DescribeGroupsResponse).Groups[0].ErrorCode; code == 0 {
			return
		} else if code != loading && code != 16 {
			c.t.Fatalf("code %d", code)
		}
	}
}

// What can't be answered closes its connection, and no other.
func TestHostileFrames(t *testing.T) {
	n := start(t, nil)
	n.create("t", 1)
	header := func(key, version int16, body ...byte) []byte {
		b := binary.BigEndian.AppendUint16(make([]byte, 4), uint16(key))
		b = binary.BigEndian.AppendUint16(b, uint16(version))
		b = append(append(b, 0, 0, 0, 7, 0, 1, 'x'), body...)
		binary.BigEndian.PutUint32(b, uint32(len(b)-4))
		return b
	}
	for name, x := range map[string]struct {
		sent []byte
		want string
	}{
		"size 0":                      {[]byte{0, 0, 0, 0}, "closed"},
		"size -1":                     {[]byte{0xff, 0xff, 0xff, 0xff}, "closed"},
		"size above the maximum":      {[]byte{0x06, 0x40, 0x00, 0x01}, "closed"},
		"no header":                   {[]byte{0, 0, 0, 2, 0, 3}, "closed"},
		"unknown key":                 {header(200, 0), "closed"},
		"negative key":                {header(-1, 0), "closed"},
		"version of Metadata":         {header(3, 13), "closed"},
		"negative version":            {header(3, -1), "closed"},
		"version of ApiVersions":      {header(18, 99), "00000007002300000001001200000004"},
		"array longer than its frame": {header(3, 1, 0x7f, 0xff, 0xff, 0xff), "closed"},
		"compact array":               {header(3, 9, 0, 0xff, 0xff, 0xff, 0xff, 0x0f), "closed"},
		"varint without an end":       {header(3, 9, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), "closed"},
		"cut short":                   {header(19, 4, 0, 0, 0, 1, 0, 5, 'a'), "closed"},
		"null where none may be":      {header(19, 4, 0xff, 0xff, 0xff, 0xff), "closed"},
	} {
		eq(t, name, n.raw(x.sent), x.want)
	}
	c := n.dial()
	var wg sync.WaitGroup
	for i := range 300 { // claims of 100 MiB of which nothing more comes, and clients that go in mid-request
		wg.Go(func() {
			c := n.dial()
			if i%2 == 0 {
				c.Write([]byte{0x06, 0x3f, 0xff, 0xff, 0, 0})
			} else {
				c.Write(header(3, 1, 0, 0, 0, 1, 0, 9)[:10])
			}
			c.Close()
		})
	}
	wg.Wait()
	if got := c.do(kmsg.NewPtrMetadataRequest(), 12).(*kmsg.MetadataResponse); len(got.Topics) != 1 {
		t.Errorf("%d topics", len(got.Topics))
	}
	if got := n.logs.count("connection closed"); got < 1 || got > 20 {
		t.Errorf("%d lines about closed connections:\n%s", got, n.logs)
	}
}

// Requests that are sent without waiting are answered in their order.
func TestPipelined(t *testing.T) {
	n := start(t, nil)
	n.create("t", 1)
	c := n.dial()
	const pairs = 500
	wrote := make(chan struct{})
	go func() {
		defer close(wrote)
		for range pairs {
			c.write(kmsg.NewPtrMetadataRequest(), 0)
			c.write(produce(-1, "t", 0, records(strings.Repeat("x", 100))), 9)
		}
	}()
	for i := range 2 * pairs {
		b, err := c.frame()
		if err != nil {
			t.Fatal(err)
		}
		if got := int(binary.BigEndian.Uint32(b)); got != i+1 {
			t.Fatalf("answer %d at place %d", got, i+1)
		}
	}
	<-wrote
}
