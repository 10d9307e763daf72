package broker

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// bootID names this run of the machine; "" is unknown, and what needs it is not done.
func bootID() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(boot))
}

// machineMemory is the memory of this machine; 0 is unknown.
func machineMemory() int64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0
	}
	return int64(info.Totalram) * int64(info.Unit)
}
