package tools

import (
	"context"
	"log/slog"

	"barnabas/broker"
	"barnabas/conf"
)

// startBroker starts a real broker; tests put a pretended one in its place.
func startBroker(ctx context.Context, c *conf.Config, logger *slog.Logger) (instance, error) {
	b, err := broker.Start(ctx, broker.Options{Config: c, Logger: logger, Version: version(), LimitMemory: true, Sole: true})
	if err != nil {
		return nil, err
	}
	return b, nil
}
