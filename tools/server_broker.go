package tools

import (
	"context"
	"log/slog"
	"runtime"

	"barnabas/broker"
	"barnabas/conf"
)

// startBroker starts a real broker; tests put a pretended one in its place.
func startBroker(ctx context.Context, c *conf.Config, logger *slog.Logger) (instance, error) {
	b, err := broker.Start(ctx, broker.Options{Config: c, Logger: logger, Version: version(), Pollers: pollers()})
	if err != nil {
		return nil, err
	}
	return b, nil
}

// pollers is half of the processors, since one that polls is seldom free for
// anything else; with a single one there is no half.
func pollers() int { return min(runtime.GOMAXPROCS(0)/2, maxPollers) }

const maxPollers = 16
