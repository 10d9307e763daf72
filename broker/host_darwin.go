package broker

import "golang.org/x/sys/unix"

// bootID names this run of the machine; "" is unknown, and what needs it is not done.
func bootID() string {
	id, err := unix.Sysctl("kern.bootsessionuuid")
	if err != nil {
		return ""
	}
	return id
}

// machineMemory is the memory of this machine; 0 is unknown.
func machineMemory() int64 {
	n, err := unix.SysctlUint64("hw.memsize")
	if err != nil {
		return 0
	}
	return int64(n)
}
