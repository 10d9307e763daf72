package tools

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"barnabas/conf"
)

// serverFlags are those of kafka-server-start.sh and ours.
type serverFlags struct {
	overrides, accept []string
	logLevel          string
}

func (t *tool) serverCommand() *cobra.Command {
	f := &serverFlags{}
	cmd := &cobra.Command{
		Use:   "server FILE",
		Short: "Start a broker beside a ZooKeeper ensemble",
		Long: `Start a broker. FILE is a .toml, or Kafka's own server.properties as it is; the
file conf/server.toml has every key. What wins, highest first: --override, the
environment (KAFKA_LOG_DIRS is log.dirs), the file, the defaults.

Ctrl-C and SIGTERM shut it down; SIGQUIT prints all goroutines.`,
		Example: `  barnabas server conf/server.toml
  barnabas server /etc/kafka/server.properties --override broker.id=3 --override log.dirs=/data/kafka`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("the file is missing: barnabas server FILE")
			}
			if len(args) > 1 {
				return usagef("unexpected argument %q; overrides are given as --override key=value", args[1])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.server(cmd.Context(), args[0], f)
		},
	}
	p := cmd.Flags()
	p.StringArrayVar(&f.overrides, "override", nil, "a config that beats the file, key=value; may be repeated")
	p.StringArrayVar(&f.accept, "accept-missing", nil, "start although this key is not built yet; may be repeated")
	p.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	return cmd
}

func (t *tool) server(ctx context.Context, path string, f *serverFlags) error {
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.logLevel)); err != nil {
		return usagef("--log-level %s: allowed are debug, info, warn and error", f.logLevel)
	}
	config, warnings, err := conf.Load(path, f.overrides, os.Environ(), f.accept...)
	if err != nil {
		return configError(path, warnings, err)
	}
	logger := newLogger(t.err, level)
	for _, w := range warnings {
		logger.Warn(w.Text)
	}
	checkFileLimit(logger, enoughFiles)
	ctx, stop := interruptible(ctx)
	defer stop()
	b, err := t.start(ctx, config, logger)
	if ctx.Err() != nil && b == nil {
		logger.Info("told to stop during the start")
		return nil
	}
	if err != nil {
		return portHint(config, err)
	}
	banner(logger, config, b)
	checkAdvertised(ctx, logger, config, b)
	return serve(ctx, stop, logger, b)
}

// instance is a running broker.
type instance interface {
	// ID is the broker's id, as configured, found or generated.
	ID() int32
	// ClusterID is the cluster that it is part of.
	ClusterID() string
	// Addr is where a listener was bound.
	Addr(listener string) net.Addr
	// Wait returns when the broker has ended, with the reason if it was not Close.
	Wait() error
	// Close shuts down and returns when all is written.
	Close() error
}

// configError says that nothing was started, and lists each mistake on a line. The
// warnings follow: a key that is missing may be one that was misspelt.
func configError(path string, warnings []conf.Warning, err error) error {
	if errors.Is(err, conf.ErrFile) {
		return err
	}
	lines := strings.Split(err.Error(), "\n")
	for _, w := range warnings {
		lines = append(lines, "warning: "+w.Text)
	}
	return fmt.Errorf("%s cannot be used:\n  %s", path, strings.Join(lines, "\n  "))
}

// serve waits until the broker ends or is told to. A second signal during the
// shutdown ends the process at once.
func serve(ctx context.Context, stop context.CancelFunc, logger *slog.Logger, b instance) error {
	ended := make(chan error, 1)
	go func() { ended <- b.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			return fmt.Errorf("the broker ended: %w", err)
		}
		return nil
	case <-ctx.Done():
	}
	stop() // from here on signals have their default effect
	logger.Info("shutting down")
	began := time.Now()
	if err := b.Close(); err != nil {
		return fmt.Errorf("shutting down: %w", err)
	}
	<-ended
	logger.Info("shut down", "took", time.Since(began).Round(time.Millisecond))
	return nil
}

// banner is the one line that says who started where.
func banner(logger *slog.Logger, c *conf.Config, b instance) {
	var listeners []string
	for _, l := range advertised(c, b) {
		listeners = append(listeners, l.String())
	}
	logger.Info("started", "version", version(), "broker", b.ID(), "cluster", b.ClusterID(),
		"listeners", strings.Join(listeners, ","), "log.dirs", strings.Join(c.Log.Dirs, ","), "zookeeper", c.ZooKeeper.Connect)
}

// advertised is what clients are told: advertised.listeners, with the ports that
// the kernel picked and the host's own name where none is given.
func advertised(c *conf.Config, b instance) []conf.Listener {
	out := append([]conf.Listener(nil), c.Listeners.Advertised...)
	for i := range out {
		l := &out[i]
		if addr, ok := b.Addr(l.Name).(*net.TCPAddr); ok && l.Port == 0 {
			l.Port = addr.Port
		}
		if l.Host == "" {
			l.Host = hostname()
		}
	}
	return out
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return name
}

// checkAdvertised dials what clients are told to dial, and warns when that does
// not lead here: the commonest reason why clients connect once and then fail.
func checkAdvertised(ctx context.Context, logger *slog.Logger, c *conf.Config, b instance) {
	for _, l := range advertised(c, b) {
		addr := net.JoinHostPort(l.Host, strconv.Itoa(l.Port))
		d := net.Dialer{Timeout: time.Second}
		conn, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			logger.Warn("clients are told an address that this host itself cannot reach; see advertised.listeners",
				"listener", l.Name, "address", addr, "error", err)
			continue
		}
		conn.Close()
	}
}

// portHint adds to an error about a port in use which key or flag changes it.
func portHint(c *conf.Config, err error) error {
	if !errors.Is(err, syscall.EADDRINUSE) {
		return err
	}
	var ports []string
	for _, l := range c.Listeners.Bind {
		ports = append(ports, strconv.Itoa(l.Port))
	}
	return fmt.Errorf("%w\nPort %s is in use by another process; stop that one, or choose another by listeners in the file or --override listeners=PLAINTEXT://:PORT", err, strings.Join(ports, " or "))
}
