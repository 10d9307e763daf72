//go:build invariants || race

package invariant

// Enabled tells whether broken invariants panic.
const Enabled = true
