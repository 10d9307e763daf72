package tools

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"barnabas/conf"
	"barnabas/internal/vfs"
	"barnabas/zkpaths/devzk"
)

type devFlags struct {
	dataDir      string
	ephemeral    bool
	port, zkPort int
	host         string
	overrides    []string
	logLevel     string
	explicitData bool // --data-dir was given
}

func (t *tool) devCommand() *cobra.Command {
	f := &devFlags{}
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Start a broker and a ZooKeeper, in this one process",
		Long: `Start a broker on localhost:9092 and a small ZooKeeper on localhost:2181, both in
this process and for this machine only. Data are kept in ./barnabas-data; the
next start finds them.`,
		Example: `  barnabas dev
  barnabas dev --ephemeral
  barnabas dev --port 19092 --zookeeper-port 12181 --data-dir /tmp/b`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.explicitData = cmd.Flags().Changed("data-dir")
			return t.dev(cmd.Context(), f)
		},
	}
	p := cmd.Flags()
	p.StringVar(&f.dataDir, "data-dir", "barnabas-data", "where data are kept")
	p.BoolVar(&f.ephemeral, "ephemeral", false, "keep no data when it ends")
	p.IntVar(&f.port, "port", 9092, "the broker's port; 0 is any free one")
	p.IntVar(&f.zkPort, "zookeeper-port", 2181, "ZooKeeper's port; 0 is any free one")
	p.StringVar(&f.host, "host", "localhost", "the address to listen on and to tell clients")
	p.StringArrayVar(&f.overrides, "override", nil, "a config of the broker, key=value; may be repeated")
	p.StringVar(&f.logLevel, "log-level", "warn", "debug, info, warn or error")
	return cmd
}

// dev runs both until it is told to stop.
func (t *tool) dev(ctx context.Context, f *devFlags) (err error) {
	if f.ephemeral && f.explicitData {
		return usagef("--ephemeral keeps no data; leave --data-dir out")
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.logLevel)); err != nil {
		return usagef("--log-level %s: allowed are debug, info, warn and error", f.logLevel)
	}
	logger := newLogger(t.err, level)
	ctx, stop := interruptible(ctx)
	defer stop()
	dir, cleanUp, err := f.directory()
	if err != nil {
		return err
	}
	defer cleanUp()
	if err := portFree(f.host, f.port, "the broker", "--port"); err != nil {
		return err
	}
	zk, err := f.startZooKeeper(dir, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, zk.Close()) }()
	values, err := f.configs(dir, zk.Addr())
	if err != nil {
		return err
	}
	config, warnings, err := conf.FromMap(values)
	if err != nil {
		return configError("the configuration", err)
	}
	for _, w := range warnings {
		logger.Warn(w.Text)
	}
	checkFileLimit(logger, enoughDevFiles)
	b, err := t.start(ctx, config, logger)
	if ctx.Err() != nil && b == nil {
		return nil // Ctrl-C during the start
	}
	if err != nil {
		return portHint(config, err)
	}
	fmt.Fprint(t.out, f.welcome(advertised(config, b), zk.Addr(), commandName()))
	return serve(ctx, stop, logger, b)
}

// directory is where data are kept; cleanUp removes it if it is not to last.
func (f *devFlags) directory() (dir string, cleanUp func(), err error) {
	if f.ephemeral {
		dir, err = os.MkdirTemp("", "barnabas-dev-")
		return dir, func() { os.RemoveAll(dir) }, err
	}
	if err := os.MkdirAll(f.dataDir, 0o755); err != nil {
		return "", nil, fmt.Errorf("%w; --data-dir names another place", err)
	}
	return f.dataDir, func() {}, nil
}

// portFree says early, and by its flag, that a port is taken.
func portFree(host string, port int, what, flag string) error {
	l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return portError(err, host, port, what, flag)
	}
	return l.Close()
}

func portError(err error, host string, port int, what, flag string) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("port %d for %s is in use by another process; stop that one, or choose another port by %s", port, what, flag)
	}
	return fmt.Errorf("cannot listen on %s:%d for %s: %w", host, port, what, err)
}

func (f *devFlags) startZooKeeper(dir string, logger *slog.Logger) (*devzk.Server, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(f.host, strconv.Itoa(f.zkPort)))
	if err != nil {
		return nil, portError(err, f.host, f.zkPort, "ZooKeeper", "--zookeeper-port")
	}
	o := devzk.Options{Listener: l, Logger: logger}
	if !f.ephemeral {
		o.FS, o.Dir = vfs.OS, filepath.Join(dir, "zookeeper")
	}
	return devzk.Start(o)
}

// configs is what a single broker on a desk is started with; --override is
// stronger.
func (f *devFlags) configs(dir, zookeeper string) (map[string]string, error) {
	values := map[string]string{
		"broker.id":                        "0",
		"zookeeper.connect":                zookeeper,
		"listeners":                        conf.Listener{Name: "PLAINTEXT", Host: f.host, Port: f.port}.String(),
		"log.dirs":                         filepath.Join(dir, "broker-0"),
		"offsets.topic.replication.factor": "1",
		"transaction.state.log.replication.factor": "1",
		"transaction.state.log.min.isr":            "1",
		"group.initial.rebalance.delay.ms":         "0",
	}
	for _, o := range f.overrides {
		k, v, ok := strings.Cut(o, "=")
		if !ok || k == "" {
			return nil, usagef("--override %q is not of the form key=value", o)
		}
		values[k] = v
	}
	return values, nil
}

// welcome says what runs, what clients are told, and what to try.
func (f *devFlags) welcome(listeners []conf.Listener, zookeeper, command string) string {
	var b strings.Builder
	address := net.JoinHostPort(listeners[0].Host, strconv.Itoa(listeners[0].Port))
	kept := "kept in " + f.dataDir + string(filepath.Separator)
	if f.ephemeral {
		kept = "gone when this ends"
	}
	_, zkPort, _ := net.SplitHostPort(zookeeper)
	fmt.Fprintf(&b, "Barnabas runs.\n\n")
	fmt.Fprintf(&b, "  broker      %s   (this is also the address that clients are told)\n", address)
	fmt.Fprintf(&b, "  ZooKeeper   %s\n", net.JoinHostPort(f.host, zkPort))
	fmt.Fprintf(&b, "  data        %s\n\n", kept)
	server := ""
	if address != defaultBootstrap {
		server = " --bootstrap-server " + address
	}
	fmt.Fprintf(&b, "Try in another terminal:\n\n")
	fmt.Fprintf(&b, "  %s topics --create --topic hello --partitions 3%s\n", command, server)
	fmt.Fprintf(&b, "  echo 'dear castle' | %s console-producer --topic hello%s\n", command, server)
	fmt.Fprintf(&b, "  %s console-consumer --topic hello --from-beginning%s\n\n", command, server)
	fmt.Fprintf(&b, "Ctrl-C stops it.\n")
	return b.String()
}

// commandName is how this program was called, as one would type it again.
func commandName() string {
	if strings.Contains(os.Args[0], "go-build") {
		return "go run ."
	}
	return os.Args[0]
}
