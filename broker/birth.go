package broker

import (
	"sync"

	"barnabas/cluster"
	"barnabas/internal/kafka"
)

// birth is this broker's present registration.
type birth struct {
	mu    sync.Mutex // guards following; before the replicas' locks
	epoch kafka.BrokerEpoch
}

// setBirth notes a registration, or by 0 that it is gone. Nothing is led until the
// change log tells of it.
func (b *Broker) setBirth(epoch kafka.BrokerEpoch) {
	b.birth.mu.Lock()
	defer b.birth.mu.Unlock()
	b.birth.epoch = epoch
	b.birthLocked(b.metadata.Current())
}

// readBirth looks whether a new image tells of the present registration.
func (b *Broker) readBirth(im *cluster.Image) {
	b.birth.mu.Lock()
	defer b.birth.mu.Unlock()
	b.birthLocked(im)
}

func (b *Broker) birthLocked(im *cluster.Image) {
	told := int64(0)
	if self := im.Broker(b.id); self != nil && self.Epoch == b.birth.epoch {
		told = self.Told
	}
	b.replicas.SetRegistration(b.birth.epoch, told)
}
