// Package metadata keeps this broker's image of the cluster: it loads the znodes
// once, then reads the change log entry by entry and publishes a snapshot after
// each batch. It decides nothing and writes nothing but the log's empty parent.
//
// Life: New, then Run until its context ends; Loaded is closed once there is an
// image. The names of entries are predictable, so the reader gets the next ones
// until one is absent and leaves a watch there; once a second, and after each
// reconnect, it compares the log's parent with what it has, so that a lost
// watch costs a second at most. A log that was emptied, purged too far or can't
// be understood is answered with a full load.
//
// Run's goroutine alone reads and publishes; OnChange is called by it, in order,
// without a lock. Everybody else sees immutable images through an atomic
// pointer. OnEvent and OnState only wake the goroutine.
package metadata

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"barnabas/cluster"
	"barnabas/internal/pulse"
	"barnabas/zkpaths"
	"barnabas/zkpaths/session"
)

// Options of a Reader.
type Options struct {
	// Client is the session whose events are handed to OnEvent and OnState.
	// Required.
	Client *session.Client
	// OnChange hears of each new image, in order, and what moved. It must not
	// wait for the reader. Default: nobody does.
	OnChange func(old, new *cluster.Image, changes []cluster.Change)
	// OnEntry hears of each entry that is read, in order: of which log (its
	// czxid), its number, and when it was made, in ms since 1970. A load hands over
	// the last ones before it, too; some of them twice. It must not wait. Default:
	// nobody does.
	OnEntry func(log, number, at int64, e *cluster.Entry)
	// Interval between looks at the log without a reason. Default 1 s.
	Interval time.Duration
	Logger   *slog.Logger // default: nothing is logged
}

// Reader follows the change log.
type Reader struct {
	opts    Options
	zk      *session.Client
	log     *slog.Logger
	image   atomic.Pointer[cluster.Image]
	loaded  chan struct{}
	wake    chan struct{}
	catchUp chan chan error
	pulse   pulse.Pulse // of Run

	mu      sync.Mutex    // guards following
	moved   chan struct{} // closed and replaced at each publication
	tokens  map[cluster.Token]int64
	ring    [tokensKept]cluster.Token
	ringEnd int
}

// tokensKept bounds the memory of entries seen, for Seen.
const tokensKept = 1024

// New makes a reader whose image is empty until Run has loaded it.
func New(o Options) *Reader {
	if o.OnChange == nil {
		o.OnChange = func(_, _ *cluster.Image, _ []cluster.Change) {}
	}
	if o.Interval <= 0 {
		o.Interval = time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Reader{
		opts: o, zk: o.Client, log: o.Logger,
		loaded: make(chan struct{}), wake: make(chan struct{}, 1), catchUp: make(chan chan error),
		moved: make(chan struct{}), tokens: map[cluster.Token]int64{},
	}
	r.image.Store(cluster.Empty())
	return r
}

// SetClient gives the session, for those who must make the reader before the
// session that reports to it. It is called before Run.
func (r *Reader) SetClient(c *session.Client) { r.zk = c }

// Current is the newest image; an empty one before the first load.
func (r *Reader) Current() *cluster.Image { return r.image.Load() }

// Loaded is closed when the first image is published.
func (r *Reader) Loaded() <-chan struct{} { return r.loaded }

// OnEvent takes a watch event of the session; it only enqueues.
func (r *Reader) OnEvent(e session.Event) {
	if strings.HasPrefix(e.Path, zkpaths.MetadataChanges) {
		r.Wake()
	}
}

// OnState takes a change of the session; it only enqueues.
func (r *Reader) OnState(s session.State) {
	if s.Kind == session.Connected || s.Kind == session.NewSession {
		r.Wake()
	}
}

// Wake makes the reader look at the log soon.
func (r *Reader) Wake() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// WaitFor returns once the image fulfils until, or with the context's error.
func (r *Reader) WaitFor(ctx context.Context, until func(*cluster.Image) bool) error {
	for {
		r.mu.Lock()
		moved := r.moved
		r.mu.Unlock()
		if until(r.Current()) {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// CatchUp reads the log to its end, as it is after a sync if fresh is asked for,
// and returns the image then.
func (r *Reader) CatchUp(ctx context.Context, fresh bool) (*cluster.Image, error) {
	if fresh {
		if err := r.zk.Sync(ctx); err != nil {
			return nil, err
		}
	}
	done := make(chan error, 1)
	select {
	case r.catchUp <- done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case err := <-done:
		return r.Current(), err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Seen tells whether an entry with this token was read lately: at least those
// among the last thousand that no full load skipped.
func (r *Reader) Seen(t cluster.Token) (number int64, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	number, ok = r.tokens[t]
	return number, ok
}

func (r *Reader) note(t cluster.Token, number int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.tokens, r.ring[r.ringEnd])
	r.ring[r.ringEnd] = t
	r.ringEnd = (r.ringEnd + 1) % tokensKept
	r.tokens[t] = number
}

// Pulse beats while Run turns, at least at each Interval.
func (r *Reader) Pulse() *pulse.Pulse { return &r.pulse }

// Run reads until ctx ends, whose error it returns.
func (r *Reader) Run(ctx context.Context) error {
	defer r.pulse.End()
	r.pulse.Beat()
	tick := time.NewTicker(r.opts.Interval)
	defer tick.Stop()
	r.look(ctx)
	for {
		r.pulse.Beat()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			r.look(ctx)
		case <-r.wake:
			r.look(ctx)
		case done := <-r.catchUp:
			done <- r.advance(ctx)
		}
	}
}

// look advances and logs what went wrong; the next tick tries again.
func (r *Reader) look(ctx context.Context) {
	if err := r.advance(ctx); err != nil && ctx.Err() == nil {
		r.log.Warn("reading the change log failed, will try again", "err", err)
	}
}

// errReload means that reading on makes no sense: the log is another one, has
// lost what comes next, or holds what this build can't read.
var errReload = errors.New("metadata: the change log can't be continued")

// advance brings the image to the end of the log.
func (r *Reader) advance(ctx context.Context) error {
	im := r.Current()
	select {
	case <-r.loaded:
	default:
		return r.reload(ctx)
	}
	err := r.readOn(ctx, im)
	if errors.Is(err, errReload) {
		r.log.Warn("loading the whole cluster's state again", "reason", err)
		return r.reload(ctx)
	}
	return err
}

// readOn applies what follows im.
func (r *Reader) readOn(ctx context.Context, im *cluster.Image) error {
	e := cluster.NewEdit(im)
	next, err := r.apply(ctx, e, im.Log, im.Next)
	if next > im.Next {
		r.publish(e.Publish())
	}
	if err != nil {
		return err
	}
	end, log, zxid, err := r.end(ctx)
	switch {
	case err != nil:
		return err
	case log != im.Log, end < next, zxid < im.Zxid: // another one, or the same of an older day
		return errReload
	case end > next:
		return r.explainGap(ctx, next)
	}
	return nil
}

// explainGap decides what it means that entry next was absent although later
// ones exist: it came just now, or never will.
func (r *Reader) explainGap(ctx context.Context, next int64) error {
	_, ok, err := r.zk.Exists(ctx, zkpaths.MetadataChangePath(next))
	if err != nil {
		return err
	}
	if !ok {
		return errReload
	}
	r.Wake()
	return nil
}

// publish makes im the newest image and tells everybody.
func (r *Reader) publish(im *cluster.Image, changes []cluster.Change) {
	old := r.image.Swap(im)
	r.opts.OnChange(old, im, changes)
	r.mu.Lock()
	close(r.moved)
	r.moved = make(chan struct{})
	r.mu.Unlock()
}
