package protocol

import (
	"testing"
)

func TestStampsInHeaders(t *testing.T) {
	want := Stamp{Epoch: 7, Next: 1 << 40}
	for _, c := range []struct {
		name         string
		key, version int16
		carries      bool
	}{{"Fetch 17", KeyFetch, 17, true}, {"Fetch 11", KeyFetch, 11, false}, {"DescribeCluster", KeyDescribeCluster, 1, true}, {"ApiVersions 4", KeyAPIVersions, 4, true}} {
		t.Run(c.name, func(t *testing.T) {
			frame := append(AppendRequestHeader(nil, c.key, c.version, 3, "broker-1", &want), "body"...)
			h, body, err := ParseHeader(frame[4:])
			if err != nil || string(body) != "body" || h.Key != c.key || h.Version != c.version || h.CorrelationID != 3 || string(h.ClientID) != "broker-1" {
				t.Fatalf("got %+v, %q, %v", h, body, err)
			}
			if h.Stamped != c.carries || c.carries && h.Stamp != want {
				t.Errorf("stamped %v with %+v", h.Stamped, h.Stamp)
			}
			bare := append(AppendRequestHeader(nil, c.key, c.version, 3, "broker-1", nil), "body"...)
			if h, body, err := ParseHeader(bare[4:]); err != nil || h.Stamped || string(body) != "body" {
				t.Errorf("without: %+v, %q, %v", h, body, err)
			}
			answer := append(AppendStampedResponseHeader(nil, c.key, c.version, 3, want), "body"...)[8:]
			if !FlexibleResponseHeader(c.key, c.version) {
				if string(answer) != "body" {
					t.Errorf("answer %q", answer)
				}
				return
			}
			s, stamped, rest, ok := ResponseTags(answer)
			if !ok || !stamped || s != want || string(rest) != "body" {
				t.Errorf("answer: %+v, %v, %q, %v", s, stamped, rest, ok)
			}
			if rest, ok := SkipTags(answer); !ok || string(rest) != "body" {
				t.Errorf("one that does not know it reads %q, %v", rest, ok)
			}
		})
	}
}

func TestNewerStamps(t *testing.T) {
	for _, c := range []struct {
		a, b Stamp
		want bool
	}{
		{Stamp{1, 5}, Stamp{1, 4}, true}, {Stamp{1, 5}, Stamp{1, 5}, false}, {Stamp{1, 4}, Stamp{1, 5}, false},
		{Stamp{2, 1}, Stamp{1, 9}, true}, {Stamp{1, 9}, Stamp{2, 1}, false},
	} {
		if got := c.a.Newer(c.b); got != c.want {
			t.Errorf("%+v newer than %+v: %v", c.a, c.b, got)
		}
	}
}

// FuzzResponseTags: whatever comes, what is left is a part of it, and both
// readers agree.
func FuzzResponseTags(f *testing.F) {
	f.Add(appendStampTags(nil, Stamp{1, 2}))
	f.Add([]byte{0, 1, 2})
	f.Add([]byte{2, 1, 1, 0, 2, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _, rest, ok := ResponseTags(b)
		other, same := SkipTags(b)
		if ok != same || ok && len(rest) != len(other) {
			t.Errorf("%x: %d bytes, %v; skipping %d, %v", b, len(rest), ok, len(other), same)
		}
	})
}
