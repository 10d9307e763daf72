package tools

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"barnabas/conf"
)

func TestConfigChanges(t *testing.T) {
	file := filepath.Join(t.TempDir(), "more.properties")
	if err := os.WriteFile(file, []byte("b = 2\na: x, y\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		name string
		f    configsFlags
		want []conf.Change
		err  string
	}{
		{"lists in brackets", configsFlags{add: "k2=[v1,v2], k1 = v1 ,k3=[v]"}, []conf.Change{{Name: "k1", Value: "v1"}, {Name: "k2", Value: "v1,v2"}, {Name: "k3", Value: "v"}}, ""},
		{"empty value", configsFlags{add: "a="}, []conf.Change{{Name: "a"}}, ""},
		{"an equals sign in brackets", configsFlags{add: "a=[b=c]"}, []conf.Change{{Name: "a", Value: "b=c"}}, ""},
		{"an equals sign too many", configsFlags{add: "a=b=c"}, nil, `all configs to be added must be in the format "key=val"`},
		{"a file", configsFlags{addFile: file}, []conf.Change{{Name: "a", Value: "x, y"}, {Name: "b", Value: "2"}}, ""},
		{"deletions", configsFlags{add: "a=1", remove: []string{"b", " c", ""}}, []conf.Change{{Name: "a", Value: "1"}, {Op: conf.Delete, Name: "b"}, {Op: conf.Delete, Name: "c"}}, ""},
	} {
		got, err := x.f.changes(&tool{out: new(strings.Builder)})
		if d := cmp.Diff(got, x.want); d != "" || err == nil && x.err != "" || err != nil && !strings.Contains(err.Error(), x.err+"") {
			t.Errorf("%s: %v, -got +want\n%s", x.name, err, d)
		}
	}
}
