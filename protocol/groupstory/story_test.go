package groupstory

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestTags: the question and the answer survive the wire, and nobody else sees
// them.
func TestTags(t *testing.T) {
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.SetVersion(Version)
	if Asked(req) {
		t.Error("asked before asking")
	}
	Ask(req)
	again := kmsg.NewPtrDescribeGroupsRequest()
	again.SetVersion(Version)
	if err := again.ReadFrom(req.AppendTo(nil)); err != nil || !Asked(again) {
		t.Errorf("the question is lost: %v", err)
	}
	g := kmsg.NewDescribeGroupsResponseGroup()
	if s, err := Of(&g); s != nil || err != nil {
		t.Errorf("%v, %v", s, err)
	}
	want := &Story{
		Generations: []Generation{{Generation: 3, Cause: "ü", Began: 1, Joined: 2, Assigned: 3, Members: 4, Missing: []string{"m"}, MissingCount: 1}},
		Lag:         []Lag{{"t", 1, 2, -1}},
	}
	if err := want.Put(&g); err != nil {
		t.Fatal(err)
	}
	resp := kmsg.NewPtrDescribeGroupsResponse()
	resp.SetVersion(Version)
	resp.Groups = append(resp.Groups, g)
	back := kmsg.NewPtrDescribeGroupsResponse()
	back.SetVersion(Version)
	if err := back.ReadFrom(resp.AppendTo(nil)); err != nil {
		t.Fatal(err)
	}
	got, err := Of(&back.Groups[0])
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// FuzzOf: a broker may send anything under the tag.
func FuzzOf(f *testing.F) {
	f.Add([]byte(`{"generations":[{"generation":1}],"lag":[{"topic":"t"}]}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, b []byte) {
		g := kmsg.NewDescribeGroupsResponseGroup()
		g.UnknownTags.Set(Tag, b)
		if s, err := Of(&g); err == nil && s == nil {
			t.Error("neither story nor error")
		}
	})
}
