package group

import (
	"testing"
	"testing/synctest"
)

// TestCount counts a group at work and one that only has offsets.
func TestCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := led(t, newMemStore(), Config{})
		id, generation, _, err := consumer(t.Context(), c, "working")
		if err != ok {
			t.Fatal(err)
		}
		c.Commit(t.Context(), committing("working", generation, id, 5))
		c.Commit(t.Context(), committing("simple", -1, "", 7))
		n := c.Count()
		if n.Groups() != 2 || n.States[Stable] != 1 || n.States[Empty] != 1 || n.Members != 1 || n.Offsets != 2 || n.Loading != 0 {
			t.Errorf("%+v", n)
		}
	})
}
