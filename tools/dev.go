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
	brokers      int
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
next start finds them. With --brokers 3 there are three, on ports 9092 to 9094, and
topics have three replicas.`,
		Example: `  barnabas dev
  barnabas dev --ephemeral
  barnabas dev --brokers 3
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
	p.IntVar(&f.brokers, "brokers", 1, "how many brokers, 1 to 9")
	p.IntVar(&f.port, "port", 9092, "the broker's port, of further ones those after it; 0 is any free one")
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
	if f.brokers < 1 || f.brokers > maxDevBrokers {
		return usagef("--brokers %d: allowed are 1 to %d", f.brokers, maxDevBrokers)
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
	for i := range f.brokers {
		if err := portFree(f.host, f.portOf(i), "the broker", "--port"); err != nil {
			return err
		}
	}
	zk, err := f.startZooKeeper(dir, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, zk.Close()) }()
	checkFileLimit(logger, enoughDevFiles)
	var brokers fleet
	var listeners []conf.Listener
	for i := range f.brokers {
		b, at, err := t.devBroker(ctx, f, i, dir, zk.Addr(), logger)
		if b == nil {
			return errors.Join(err, brokers.Close())
		}
		brokers, listeners = append(brokers, b), append(listeners, at...)
	}
	fmt.Fprint(t.out, f.welcome(listeners, zk.Addr(), commandName()))
	return serve(ctx, stop, logger, brokers)
}

// devBroker starts broker number i and gives what clients are told of it. Without
// an error there is no broker if Ctrl-C came during the start.
func (t *tool) devBroker(ctx context.Context, f *devFlags, i int, dir, zookeeper string, logger *slog.Logger) (instance, []conf.Listener, error) {
	values, err := f.configs(i, dir, zookeeper)
	if err != nil {
		return nil, nil, err
	}
	config, warnings, err := conf.FromMap(values)
	if err != nil {
		return nil, nil, configError("the configuration", warnings, err)
	}
	for _, w := range warnings {
		logger.Warn(w.Text)
	}
	if f.brokers > 1 {
		logger = logger.With("broker", i)
	}
	b, err := t.start(ctx, config, logger)
	if ctx.Err() != nil && b == nil {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, portHint(config, err)
	}
	return b, advertised(config, b), nil
}

// fleet is several brokers as one.
type fleet []instance

func (f fleet) ID() int32                 { return f[0].ID() }
func (f fleet) ClusterID() string         { return f[0].ClusterID() }
func (f fleet) Addr(name string) net.Addr { return f[0].Addr(name) }

// Wait returns when one has ended.
func (f fleet) Wait() error {
	ended := make(chan error, len(f))
	for _, b := range f {
		go func() { ended <- b.Wait() }()
	}
	return <-ended
}

// Close stops one after the other, so that each hands over what it led.
func (f fleet) Close() error {
	var errs []error
	for _, b := range f {
		errs = append(errs, b.Close())
	}
	return errors.Join(errs...)
}

// maxDevBrokers is as many as a desk needs.
const maxDevBrokers = 9

// portOf is the port of broker number i.
func (f *devFlags) portOf(i int) int {
	if f.port == 0 {
		return 0
	}
	return f.port + i
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

// configs is what broker number i on a desk is started with; --override is
// stronger.
func (f *devFlags) configs(i int, dir, zookeeper string) (map[string]string, error) {
	replicas := strconv.Itoa(min(f.brokers, 3))
	values := map[string]string{
		"broker.id":                        strconv.Itoa(i),
		"zookeeper.connect":                zookeeper,
		"listeners":                        conf.Listener{Name: "PLAINTEXT", Host: f.host, Port: f.portOf(i)}.String(),
		"log.dirs":                         filepath.Join(dir, "broker-"+strconv.Itoa(i)),
		"default.replication.factor":       replicas,
		"offsets.topic.replication.factor": replicas,
		"transaction.state.log.replication.factor": replicas,
		"transaction.state.log.min.isr":            "1",
		"group.initial.rebalance.delay.ms":         "0",
	}
	if f.brokers > 1 { // they share the processors
		values["barnabas.socket.pollers"] = "0"
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
	for _, l := range listeners[1:] {
		fmt.Fprintf(&b, "              %s\n", net.JoinHostPort(l.Host, strconv.Itoa(l.Port)))
	}
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
