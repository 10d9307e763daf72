//go:build unix

// Command stutter runs a program and stops it again and again, by SIGSTOP, for
// random times, as a busy machine does: a test that depends on the machine's speed
// fails under it.
//
//	go build -o /tmp/stutter ./scripts/stutter
//	go test -exec /tmp/stutter ./...
//
// What the program starts is not stopped. BARNABAS_STUTTER_SEED repeats the times of
// an earlier run, whose seed is printed when the program fails; the tests need not
// fail again.
package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

// The mean times for which the program runs and stands. Every tenth stop is a long
// one.
const (
	running  = 150 * time.Millisecond
	standing = 60 * time.Millisecond
	long     = 600 * time.Millisecond
	longest  = 1500 * time.Millisecond
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: stutter PROGRAM [ARGUMENT]...")
		os.Exit(2)
	}
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("BARNABAS_STUTTER_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			fmt.Fprintf(os.Stderr, "stutter: BARNABAS_STUTTER_SEED=%s is no number\n", s)
			os.Exit(2)
		}
		seed = n
	}
	cmd := exec.Command(os.Args[1], os.Args[2:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "stutter:", err)
		os.Exit(2)
	}
	code := attend(cmd, rand.New(rand.NewPCG(seed, 0)))
	if code != 0 {
		fmt.Fprintf(os.Stderr, "stutter: BARNABAS_STUTTER_SEED=%d %s: exit code %d\n", seed, os.Args[1], code)
	}
	os.Exit(code)
}

// attend stops and continues a running program until it ends, and gives its exit code.
func attend(cmd *exec.Cmd, r *rand.Rand) int {
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	mean := func(d time.Duration) time.Duration {
		return min(longest, time.Duration(r.ExpFloat64()*float64(d)))
	}
	for stopped := false; ; {
		wait := mean(running)
		if stopped {
			wait = mean(standing)
			if r.IntN(10) == 0 {
				wait = mean(long)
			}
		}
		select {
		case <-done:
			if code := cmd.ProcessState.ExitCode(); code >= 0 {
				return code
			}
			return 2 // ended by a signal
		case s := <-signals:
			cmd.Process.Signal(s)
			cmd.Process.Signal(syscall.SIGCONT)
			continue
		case <-time.After(wait):
		}
		s := syscall.SIGSTOP
		if stopped {
			s = syscall.SIGCONT
		}
		cmd.Process.Signal(s) // fails only when it has ended
		stopped = !stopped
	}
}
