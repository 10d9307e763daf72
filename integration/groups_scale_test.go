//go:build integration && scale

package integration

import (
	"testing"
	"time"
)

// TestScaleGroupOfMany is TestGroupOfMany with a thousand members.
func TestScaleGroupOfMany(t *testing.T) {
	tellLoad(t)
	groupOfMany(t, 1000)
}

// TestScaleManyGroups is TestManyGroups with five thousand groups and a hundred
// thousand offsets, which are loaded in two seconds.
func TestScaleManyGroups(t *testing.T) {
	tellLoad(t)
	manyGroups(t, 5000, 2*time.Second)
}
