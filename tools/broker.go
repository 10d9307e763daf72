package tools

import (
	"context"
	"errors"
	"log/slog"

	"barnabas/conf"
)

func startBroker(context.Context, *conf.Config, *slog.Logger) (instance, error) {
	return nil, errors.New("the broker is not assembled yet")
}
