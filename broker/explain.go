package broker

import (
	"encoding/json"
	"errors"
	"time"

	"barnabas/cluster/journal"
	"barnabas/protocol"
)

// explain answers what `barnabas explain` asks, as JSON: see docs/explain.md.
func (b *Broker) explain(subject string) (string, error) {
	e, err := journal.Explain(b.metadata.Current(), b.reasons, subject, func(overrides map[string]string) journal.Settings {
		t, _ := b.config.Load().TopicLenient(overrides)
		return journal.Settings{MinISR: t.MinISR, Unclean: t.UncleanElection}
	})
	if errors.Is(err, journal.ErrSubject) {
		return "", protocol.Fail(protocol.InvalidRequest, err.Error())
	}
	if err != nil {
		return "", err
	}
	e.Now, e.By = time.Now().UnixMilli(), b.id
	text, err := json.Marshal(e)
	return string(text), err
}
