package main

import (
	"go/ast"
	"go/token"
	"slices"
	"strconv"
	"testing"

	"barnabas/cluster/journal"
)

// TestEveryReasonHasWords: what the controller writes as a reason, `barnabas
// explain` can say.
func TestEveryReasonHasWords(t *testing.T) {
	codes := map[string]string{} // where each is written
	for _, s := range sources(t) {
		if s.test || !inside(s.room, "controller") {
			continue
		}
		literal := func(e ast.Expr) {
			if l, ok := e.(*ast.BasicLit); ok && l.Kind == token.STRING {
				code, _ := strconv.Unquote(l.Value)
				codes[code] = s.at(l)
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.KeyValueExpr: // Reason{Code: "x"}
				if isName(n.Key, "Code") {
					literal(n.Value)
				}
			case *ast.AssignStmt: // reason.Code = "x"
				if sel, ok := n.Lhs[0].(*ast.SelectorExpr); ok && sel.Sel.Name == "Code" {
					literal(n.Rhs[0])
				}
			case *ast.CallExpr: // movesReason("x", …)
				if isName(n.Fun, "movesReason") {
					literal(n.Args[0])
				}
			}
			return true
		})
	}
	if len(codes) < 15 {
		t.Errorf("only %d codes were found in the source: %v", len(codes), codes)
	}
	known := journal.Codes()
	for code, at := range codes {
		if !slices.Contains(known, code) {
			t.Errorf("%s: the reason %q has no words in cluster/journal/words.go", at, code)
		}
	}
}
