package broker

import (
	"context"

	"barnabas/cluster"
)

// confirmCrash waits until no partition counts on what this broker had before the
// machine crashed, and only then lets the directories, and registrations to come,
// forget the crash: were the process to end before that, the next one must tell of it again, or it could be
// elected for records that it lost.
func (b *Broker) confirmCrash(ctx context.Context) {
	err := b.metadata.WaitFor(ctx, func(im *cluster.Image) bool {
		epoch, ok := b.registrar.Epoch()
		self := im.Broker(b.id)
		return ok && self != nil && self.Epoch == epoch && !im.CountsOnPast(b.id)
	})
	if err != nil {
		return // the broker stops
	}
	b.registrar.Judged()
	if err := b.logs.ConfirmCrash(); err != nil {
		b.logger.Error("that the machine had crashed could not be confirmed; the next start tells of it again", "error", err)
	}
}
