//go:build !linux && !darwin

package broker

// bootID is unknown: a crash of the machine is taken for one of the process, after
// which a log is trusted that the machine may have lost the end of.
func bootID() string { return "" }

// machineMemory is unknown: what follows from it has its fixed bounds.
func machineMemory() int64 { return 0 }
