//go:build !linux

package frame

import "errors"

// hasSendfile: other systems have one, that means other things by its numbers.
const hasSendfile = false

func sendfile(to, from int, offset *int64, n int) (int, error) { return 0, errors.ErrUnsupported }

func unsent(int) (n int, known bool) { return 0, false }
