package zktest_test

import (
	"strings"
	"testing"

	"barnabas/internal/zktest"
)

func TestBothGivesAFreshChroot(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		addr, root, _ := strings.Cut(connect, "/")
		c := zktest.Dial(t, addr)
		children, st, err := c.Children("/" + root)
		if err != nil || len(children) != 0 || st.Version != 0 {
			t.Fatalf("children %v, stat %+v, error %v", children, st, err)
		}
	})
}
