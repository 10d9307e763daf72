package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// side is one of the two brokers.
type side struct {
	name, addr string
	// pidFile has the process id of the broker; start starts it again, and writes
	// pidFile.
	pidFile, start string
}

func (s *side) pid() (int, error) {
	b, err := os.ReadFile(s.pidFile)
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid <= 1 {
		return 0, fmt.Errorf("%s has no process id", s.pidFile)
	}
	return pid, nil
}

// ticksPerSecond is the unit of CPU times in /proc, which Linux fixes for its users.
const ticksPerSecond = 100

// cpu is what the process has used, all threads, user and system.
func (s *side) cpu() (time.Duration, error) {
	pid, err := s.pid()
	if err != nil {
		return 0, err
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	return parseStat(b)
}

// parseStat sums fields 14 and 15 of /proc/PID/stat, utime and stime. The name of
// the program, in parentheses, may have spaces.
func parseStat(b []byte) (time.Duration, error) {
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 13 {
		return 0, errors.New("/proc/PID/stat is too short")
	}
	user, err1 := strconv.ParseInt(f[11], 10, 64)
	system, err2 := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+system) * time.Second / ticksPerSecond, errors.Join(err1, err2)
}

// crash ends the process at once, and waits until it is gone.
func (s *side) crash() error {
	pid, err := s.pid()
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill %d: %w", pid, err)
	}
	for began := time.Now(); time.Since(began) < 20*time.Second; time.Sleep(10 * time.Millisecond) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || bytes.Contains(b, []byte(") Z ")) {
			return nil
		}
	}
	return fmt.Errorf("process %d does not end", pid)
}

// again starts the broker; what it prints is not kept.
func (s *side) again() error {
	cmd := exec.Command("sh", "-c", s.start)
	if err := cmd.Start(); err != nil {
		return err
	}
	go cmd.Wait() // it ends by itself, or with the broker
	return nil
}
