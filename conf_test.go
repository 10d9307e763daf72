package main

import (
	"go/ast"
	"go/token"
	"slices"
	"strconv"
	"testing"

	"barnabas/conf"
)

// readInConf are the keys that package conf itself acts on, so that no field of
// conf.Config carries their value alone: what it refuses, and what it merges.
var readInConf = []string{
	"node.id", "broker.id.generation.enable", // what an id may be
	"process.roles", "controller.listener.names", // refused
	"listeners", "advertised.listeners", "inter.broker.listener.name", "security.inter.broker.protocol", "listener.security.protocol.map", // Config.Listeners
	"log.dir", "log.dirs", // Config.Log.Dirs
	"log.roll.hours", "log.roll.jitter.hours", "log.retention.minutes", "log.retention.hours", "log.message.timestamp.difference.max.ms", "log.cleanup.policy", // Topic
	"max.connections.per.ip.overrides", "offsets.commit.required.acks",
}

// TestBuiltKeysAreRead: a key that conf marks as built fills a field that
// somebody outside of conf reads.
func TestBuiltKeysAreRead(t *testing.T) {
	fields := map[string][]string{} // of conf.Config and what hangs on it, by key
	read := map[string]bool{}       // names selected outside of conf
	for _, s := range sources(t) {
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				if !s.test && s.room != "conf" {
					read[n.Sel.Name] = true
				}
			case *ast.AssignStmt:
				if to, ok := n.Lhs[0].(*ast.SelectorExpr); ok && s.room == "conf" && !s.test {
					for _, key := range literals(n.Rhs[0]) {
						fields[key] = append(fields[key], to.Sel.Name)
					}
				}
			case *ast.KeyValueExpr:
				// Not the table of keys itself.
				if name, ok := n.Key.(*ast.Ident); ok && s.room == "conf" && !s.test && name.Name != "Name" && name.Name != "Doc" && name.Name != "Key" {
					for _, key := range literals(n.Value) {
						fields[key] = append(fields[key], name.Name)
					}
				}
			}
			return true
		})
	}
	synonyms := conf.TopicSynonyms()
	for _, k := range conf.Keys() {
		if k.Status != conf.Built || slices.Contains(readInConf, k.Name) {
			continue
		}
		fill := fields[k.Name]
		for _, topic := range synonyms[k.Name] {
			fill = append(fill, fields[topic]...)
		}
		if !slices.ContainsFunc(fill, func(f string) bool { return read[f] }) {
			t.Errorf("%s is marked as built; it fills %v, which nobody outside of conf reads", k.Name, fill)
		}
	}
}

// literals are the strings in an expression.
func literals(e ast.Expr) []string {
	var out []string
	ast.Inspect(e, func(n ast.Node) bool {
		if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
			s, _ := strconv.Unquote(l.Value)
			out = append(out, s)
		}
		return true
	})
	return out
}
