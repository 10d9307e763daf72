//go:build !linux

package socket

import (
	"errors"
	"net"
	"time"
)

// setUserTimeout: other systems have no such thing.
func setUserTimeout(net.Listener, time.Duration) error { return errors.ErrUnsupported }
