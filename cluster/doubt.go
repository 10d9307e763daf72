package cluster

import (
	"time"

	"barnabas/internal/kafka"
)

// Doubt is a registration whose process may just have ended, as one observer sees
// it, until when that is worth waiting for more evidence. It is of no image: nothing
// is decided by it.
type Doubt struct {
	ID    kafka.BrokerID
	Epoch kafka.BrokerEpoch
	Until time.Time
}
