package tools

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"barnabas/conf"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// tool is what every command gets.
type tool struct {
	in       io.Reader
	out, err io.Writer
	start    func(context.Context, *conf.Config, *slog.Logger) (instance, error)
}

// usageError is a command line that cannot be carried out.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// reportedError is a failure that its command has told of already.
type reportedError struct{ error }

// Run carries out a command line, without the program's name, and returns the
// exit code.
func Run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	t := &tool{in: stdin, out: stdout, err: stderr, start: startBroker}
	return t.run(args)
}

func (t *tool) run(args []string) int {
	root := t.root()
	root.SetArgs(joinOptionalValues(root, args))
	root.SetIn(t.in)
	root.SetOut(t.out)
	root.SetErr(t.err)
	cmd, err := root.ExecuteC()
	if err != nil && cmd == root && len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		err = root.Args(root, args) // not the first flag that only the misspelt command knows
	}
	if err == nil {
		return exitOK
	}
	if _, ok := errors.AsType[reportedError](err); ok {
		return exitFailed
	}
	fmt.Fprintf(t.err, "barnabas: %s\n", strings.TrimSpace(err.Error()))
	if _, ok := errors.AsType[usageError](err); ok || strings.HasPrefix(err.Error(), "unknown command") {
		fmt.Fprintf(t.err, "Run %q for how to use it.\n", cmd.CommandPath()+" --help")
		return exitUsage
	}
	return exitFailed
}

func (t *tool) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "barnabas",
		Short: "A broker for Apache Kafka's clients, beside ZooKeeper",
		Long: `Barnabas is a broker cluster for Apache Kafka's clients, coordinated by
ZooKeeper, in one binary.

Start one for a first look:        barnabas dev
Start one beside your ZooKeeper:   barnabas server conf/server.toml`,
		Version:                    version(),
		SilenceErrors:              true,
		SilenceUsage:               true,
		SuggestionsMinimumDistance: 2,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			hint := ""
			if near := c.SuggestionsFor(args[0]); len(near) > 0 {
				hint = fmt.Sprintf(" (did you mean %s?)", strings.Join(near, ", or "))
			}
			return usagef("unknown command %q%s", args[0], hint)
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetCompletionCommandGroupID("look")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddGroup(
		&cobra.Group{ID: "broker", Title: "Brokers:"},
		&cobra.Group{ID: "data", Title: "Topics, records and groups:"},
		&cobra.Group{ID: "look", Title: "Measuring and looking inside:"})
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			c.Version = version() // Kafka's tools all have --version
			if c.Name() != "server" {
				c.ValidArgsFunction = cobra.NoFileCompletions // only flags have values
			}
			root.AddCommand(c)
		}
	}
	add("broker", t.devCommand(), t.serverCommand(), t.clusterCommand())
	add("data", t.topicsCommand(), t.configsCommand(), t.consoleProducerCommand(), t.consoleConsumerCommand(), t.groupsCommand(),
		t.getOffsetsCommand(), t.deleteRecordsCommand(), t.leaderElectionCommand(), t.reassignCommand())
	add("look", t.producerPerfCommand(), t.consumerPerfCommand(), t.verifiableProducerCommand(), t.verifiableConsumerCommand(),
		t.explainCommand(), t.dumpLogCommand(), t.logDirsCommand(), t.apiVersionsCommand(), t.versionCommand())
	return root
}

// noArgs refuses positional arguments, as Kafka's tools do.
func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("unexpected argument %q; every value belongs to a flag", args[0])
	}
	return nil
}

// interruptible is a context that Ctrl-C and SIGTERM end. SIGQUIT is left to the
// runtime, which prints all goroutines.
func interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	if ctx == nil {
		ctx = context.Background()
	}
	return signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
}

// acceptInts adds flags of Kafka's tools that have no meaning here, so that a
// script of theirs runs as it is.
func acceptInts(p *pflag.FlagSet, names ...string) {
	for _, n := range names {
		p.Int64(n, 0, "accepted and not needed")
	}
}
