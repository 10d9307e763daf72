package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The laws of the house (ARCHITECTURE.md), as tests. A room is a directory with
// Go files; floors may be looked through downwards only.

const module = "barnabas/"

// maxLines bounds a Go file.
const maxLines = 700

// floors gives the floor of a room by the longest entry that is the room or a
// folder above it.
var floors = map[string]int{
	"internal": -1, // what every floor stands on: ids, files, buffers, metrics

	"cluster": 0, "protocol": 0, "log/batch": 0, "zkpaths": 0, "conf": 0,
	"net/frame": 0, // does I/O, but net/socket and net/peer stand on it
	"net/poll":  0, // the same

	"cluster/journal": 1, "cluster/registered": 1,

	"log": 1, "net": 1, "zkpaths/session": 1, "zkpaths/devzk": 1, "broker/purgatory": 1, "broker/watch": 1,

	"broker": 2, "controller/plan": 2, "controller/detector": 2, "client": 2,

	"broker/api": 3, "controller": 3,
	"broker/isr":        3, // takes broker/replica's proposals
	"broker/follower":   3, // moves what broker/replica keeps
	"broker/deathwatch": 3, // runs controller/detector

	brokerItself: 4, "internal/testcluster": 4,

	"tools": 5, "scripts": 5, ".": 5,
}

// brokerItself is the package broker, which assembles the rooms below it.
const brokerItself = "broker."

// forTests are the rooms that only tests may import.
var forTests = []string{"brokertest", "internal/zktest", "internal/testaddr", "internal/testproc", "internal/testcluster", "integration"}

// deaf says what a room must not import beyond its floor; a path ending in "/"
// means all below it.
var deaf = map[string][]string{
	"controller":      {"barnabas/broker/", "barnabas/log", "barnabas/log/"},
	"controller/plan": {"time", "net", "os", "log/slog", "sync", "math/rand", "math/rand/v2"},
	"cluster":         {"net", "os", "log/slog"},
	"protocol":        {"net", "os"},
	"log/batch":       {"net", "os", "barnabas/internal/vfs"},
	"zkpaths":         {"os", "net/http", "context"}, // package net only for the text of addresses
	"net":             {"barnabas/log", "barnabas/log/", "barnabas/zkpaths", "barnabas/zkpaths/"},
	"log":             {"net", "barnabas/net/", "barnabas/zkpaths", "barnabas/zkpaths/", "barnabas/conf", "barnabas/protocol"},
	"broker/replica":  {"github.com/twmb/franz-go/", "barnabas/zkpaths", "barnabas/zkpaths/"},
	"broker/api":      {"os", "barnabas/zkpaths", "barnabas/zkpaths/", "barnabas/controller", "barnabas/controller/"},
	"broker/group":    {"barnabas/broker/txn", "barnabas/log"},
	"broker/txn":      {"barnabas/broker/group", "barnabas/log"},
}

// source is one parsed Go file.
type source struct {
	path string // from the root of the repository
	room string
	test bool
	text []byte
	file *ast.File
	fset *token.FileSet
}

func (s *source) at(n ast.Node) string { return s.fset.Position(n.Pos()).String() }

// sources parses all Go files of the repository.
func sources(t *testing.T) []*source {
	t.Helper()
	var list []*source
	err := fs.WalkDir(os.DirFS("."), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			base := path.Base(name)
			if name != "." && (strings.HasPrefix(base, ".") || base == "testdata" || base == "barnabas-data") {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		list = append(list, &source{name, path.Dir(name), strings.HasSuffix(name, "_test.go"), text, file, fset})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func floor(room string) (int, bool) {
	if room == "broker" {
		return floors[brokerItself], true
	}
	for r := room; ; r = path.Dir(r) {
		if f, ok := floors[r]; ok {
			return f, true
		}
		if r == "." || path.Dir(r) == "." {
			return 0, false
		}
	}
}

func inside(room, folder string) bool { return room == folder || strings.HasPrefix(room, folder+"/") }

func imports(s *source) []string {
	var list []string
	for _, i := range s.file.Imports {
		p, _ := strconv.Unquote(i.Path.Value)
		list = append(list, p)
	}
	return list
}

func TestImportsGoDownwards(t *testing.T) {
	for _, s := range sources(t) {
		isForTests := slices.ContainsFunc(forTests, func(r string) bool { return inside(s.room, r) })
		from, ok := floor(s.room)
		if !ok && !isForTests {
			t.Errorf("%s: the room %s stands on no floor: add it to floors", s.path, s.room)
			continue
		}
		for _, imp := range imports(s) {
			room, ours := strings.CutPrefix(imp, module)
			switch {
			case !ours || room == s.room || isForTests:
			case slices.ContainsFunc(forTests, func(r string) bool { return inside(room, r) }):
				if !s.test {
					t.Errorf("%s imports %s, which is for tests", s.path, imp)
				}
			case from == 5 || strings.HasPrefix(room, s.room+"/") || from == -1 && inside(room, "internal"):
			default:
				// A test may bring its room together with a neighbour.
				if to, ok := floor(room); !ok || to > from || to == from && !s.test {
					t.Errorf("%s (floor %d) imports %s (floor %d): only downwards, or own sub-rooms", s.path, from, imp, to)
				}
			}
		}
	}
}

func TestRoomsAreDeaf(t *testing.T) {
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		for _, imp := range imports(s) {
			for _, no := range deaf[s.room] {
				if imp == no || strings.HasSuffix(no, "/") && strings.HasPrefix(imp, no) {
					t.Errorf("%s imports %s, which %s must not know", s.path, imp, s.room)
				}
			}
			switch {
			case imp == "log":
				t.Errorf("%s imports the standard log: use log/slog, given by Options", s.path)
			case strings.HasPrefix(imp, "github.com/go-zookeeper/") && s.room != "zkpaths/session" && s.room != "internal/zktest":
				t.Errorf("%s imports %s: zkpaths/session is its only user", s.path, imp)
			case inside(s.room, "tools") && (inside(imp, "barnabas/broker") || inside(imp, "barnabas/controller")):
				if base := path.Base(s.path); !strings.HasPrefix(base, "server") && !strings.HasPrefix(base, "dev") {
					t.Errorf("%s imports %s: tools speak the protocol or read files", s.path, imp)
				}
			}
		}
	}
}

// filesOfOS are the ways to files that do not go through internal/vfs.
var filesOfOS = []string{"Open", "OpenFile", "OpenRoot", "Create", "CreateTemp", "ReadFile", "WriteFile", "ReadDir",
	"Remove", "RemoveAll", "Rename", "Mkdir", "MkdirAll", "Truncate", "Stat", "Lstat", "DirFS", "Link", "Symlink", "Chtimes"}

func TestFilesGoThroughVFS(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || !inside(s.room, "log") && !inside(s.room, "zkpaths") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok && isName(sel.X, "os") && slices.Contains(filesOfOS, sel.Sel.Name) {
				t.Errorf("%s: os.%s: files go through internal/vfs", s.at(n), sel.Sel.Name)
			}
			return true
		})
	}
}

func isName(e ast.Expr, name string) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == name
}

func TestTestsNeitherSleepNorSkip(t *testing.T) {
	for _, s := range sources(t) {
		if !s.test && !inside(s.room, "integration") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			switch {
			case !ok:
			case isName(sel.X, "time") && sel.Sel.Name == "Sleep" && !usesSynctest(s):
				t.Errorf("%s: a test sleeps: wait for a condition, or use testing/synctest", s.at(n))
			case isName(sel.X, "t") && (sel.Sel.Name == "Skip" || sel.Sel.Name == "SkipNow" || sel.Sel.Name == "Skipf"):
				t.Errorf("%s: a test skips", s.at(n))
			}
			return true
		})
	}
}

// usesSynctest: sleeping is free and exact on a bubble's clock.
func usesSynctest(s *source) bool { return slices.Contains(imports(s), "testing/synctest") }

func TestEveryRoomSaysWhatItIs(t *testing.T) {
	said := map[string]bool{}
	for _, s := range sources(t) {
		if s.test && !inside(s.room, "integration") {
			continue
		}
		said[s.room] = said[s.room] || strings.TrimSpace(s.file.Doc.Text()) != ""
	}
	for room, ok := range said {
		if !ok {
			t.Errorf("%s has no package comment (one that touches the package line)", room)
		}
	}
}

func TestNoUnfinishedCode(t *testing.T) {
	marker := regexp.MustCompile(`\b(TODO|FIXME|XXX)\b`)
	for _, s := range sources(t) {
		if n := bytes.Count(s.text, []byte("\n")); n > maxLines {
			t.Errorf("%s has %d lines, more than %d: split it", s.path, n, maxLines)
		}
		for _, group := range s.file.Comments {
			if marker.MatchString(group.Text()) {
				t.Errorf("%s: an unfinished place", s.at(group))
			}
		}
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s: an init function: what happens at start is called from main", s.at(f))
			}
		}
	}
}

// Words in documents that stand for paths of the repository: in backquotes, or
// the target of a link.
var (
	quotedPath = regexp.MustCompile("`([A-Za-z0-9_.][A-Za-z0-9_./-]*)`")
	linkedPath = regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)
	ourFolders = []string{".ci", "broker", "brokertest", "client", "cluster", "conf", "controller", "docs", "integration", "internal",
		"log", "net", "protocol", "scripts", "tools", "zkpaths"}
	standard = []string{"log/slog", "net/http", "net/netip", "net/url"}
)

func TestDocumentsNamePathsThatExist(t *testing.T) {
	for _, doc := range []string{"README.md", "ARCHITECTURE.md"} {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Error(err)
			continue
		}
		var names []string
		for _, m := range quotedPath.FindAllSubmatch(text, -1) {
			name := string(m[1])
			top, _, isPath := strings.Cut(name, "/")
			if isPath && slices.Contains(ourFolders, top) && !slices.Contains(standard, name) {
				names = append(names, name)
			}
		}
		for _, m := range linkedPath.FindAllSubmatch(text, -1) {
			names = append(names, string(m[1]))
		}
		for _, name := range names {
			if _, err := os.Stat(strings.TrimSuffix(name, "/")); err != nil {
				t.Error(fmt.Errorf("%s names a path that is not there: %w", doc, err))
			}
		}
	}
}
