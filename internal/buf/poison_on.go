//go:build race || invariants

package buf

// poison overwrites released buffers and checks for a second release.
const poison = true
