//go:build unix && !linux

package testproc

import "os/exec"

// dieWithParent has no equivalent here: a killed test leaves its programs.
func dieWithParent(*exec.Cmd) {}
