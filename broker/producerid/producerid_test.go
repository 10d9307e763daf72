package producerid

import (
	"context"
	"errors"
	"sync"
	"testing"

	"barnabas/internal/kafka"
)

func TestNextNeverRepeats(t *testing.T) {
	var mu sync.Mutex
	next := int64(0)
	a := New(t.Context(), func(context.Context) (int64, int64, error) {
		mu.Lock()
		defer mu.Unlock()
		first := next
		next += 10
		return first, 10, nil
	})
	const callers, each = 8, 200
	got := make(chan kafka.ProducerID, callers*each)
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for range each {
				id, err := a.Next(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				got <- id
			}
		})
	}
	wg.Wait()
	close(got)
	seen := map[kafka.ProducerID]bool{}
	for id := range got {
		if seen[id] {
			t.Fatalf("id %d given twice", id)
		}
		seen[id] = true
	}
	if len(seen) != callers*each {
		t.Errorf("%d ids, want %d", len(seen), callers*each)
	}
	a.Close()
}

func TestNextReservesNothingBeforeItIsAsked(t *testing.T) {
	calls := 0
	a := New(t.Context(), func(context.Context) (int64, int64, error) { calls++; return 0, 1000, nil })
	a.Close()
	if calls != 0 {
		t.Errorf("%d blocks reserved", calls)
	}
	if id, err := a.Next(t.Context()); id != 0 || err != nil {
		t.Errorf("got %d, %v", id, err)
	}
}

func TestNextReportsAFailureAndTriesAgain(t *testing.T) {
	fail := errors.New("not the controller")
	calls := 0
	a := New(t.Context(), func(context.Context) (int64, int64, error) {
		if calls++; calls == 1 {
			return 0, 0, fail
		}
		return 5000, 1000, nil
	})
	if _, err := a.Next(t.Context()); !errors.Is(err, fail) {
		t.Errorf("got %v, want %v", err, fail)
	}
	if id, err := a.Next(t.Context()); id != 5000 || err != nil {
		t.Errorf("got %d, %v", id, err)
	}
	a.Close()
}

func TestNextGivesUpWithItsContext(t *testing.T) {
	block := make(chan struct{})
	a := New(t.Context(), func(context.Context) (int64, int64, error) { <-block; return 0, 10, nil })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(block)
	a.Close()
}

func TestNextRefusesABlockPastTheEnd(t *testing.T) {
	a := New(t.Context(), func(context.Context) (int64, int64, error) { return 1<<63 - 5, 1000, nil })
	if _, err := a.Next(t.Context()); !errors.Is(err, ErrExhausted) {
		t.Errorf("got %v", err)
	}
	a.Close()
}
