package tools

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"
)

// events prints what the verifiable tools tell: one JSON object a line, in the
// fields and the order of Kafka's VerifiableProducer and VerifiableConsumer.
type events struct {
	mu  sync.Mutex // guards following
	out io.Writer
	err error // the first failed write
}

// event is how every line begins.
type event struct {
	Timestamp int64  `json:"timestamp"` // milliseconds since 1970
	Name      string `json:"name"`
}

func named(name string) event { return event{time.Now().UnixMilli(), name} }

// print writes one line.
func (e *events) print(v any) {
	b, err := json.Marshal(v)
	e.mu.Lock()
	defer e.mu.Unlock()
	if err == nil {
		_, err = e.out.Write(append(b, '\n'))
	}
	if err != nil && e.err == nil {
		e.err = fmt.Errorf("cannot write: %w", err)
	}
}

func (e *events) failure() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}

// text is a record's key or value; null stays null.
func text(b []byte) *string {
	if b == nil {
		return nil
	}
	s := string(b)
	return &s
}
