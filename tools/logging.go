package tools

import (
	"context"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
)

// textHandler writes one line per record for a person to read: time, level,
// message, key=value. What repeats is written a few times in each window, then
// counted and told of once.
type textHandler struct {
	out    *logOutput
	level  slog.Leveler
	attrs  string // of With, formatted
	prefix string // of WithGroup
}

// Repetition: of one level and message, repeatBurst lines per repeatWindow.
const (
	repeatBurst  = 10
	repeatWindow = 10 * time.Second
	repeatKinds  = 1000 // messages remembered; beyond, all are forgotten at once
)

type logOutput struct {
	mu   sync.Mutex // guards following
	w    io.Writer
	seen map[string]*repeated
}

type repeated struct {
	since time.Time
	count int
}

func newLogger(w io.Writer, level slog.Leveler) *slog.Logger {
	return slog.New(&textHandler{out: &logOutput{w: w, seen: map[string]*repeated{}}, level: level})
}

func (h *textHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

func (h *textHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *h
	var b strings.Builder
	for _, a := range attrs {
		appendAttr(&b, h.prefix, a)
	}
	next.attrs += b.String()
	return &next
}

func (h *textHandler) WithGroup(name string) slog.Handler {
	next := *h
	if name != "" {
		next.prefix += name + "."
	}
	return &next
}

func (h *textHandler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString(r.Time.Format("2006-01-02 15:04:05.000 "))
	level := r.Level.String()
	b.WriteString(level)
	b.WriteString(strings.Repeat(" ", max(1, 6-len(level))))
	b.WriteString(quoteIf(r.Message, unprintable))
	b.WriteString(h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		appendAttr(&b, h.prefix, a)
		return true
	})
	return h.out.write(r.Time, level+" "+r.Message, b.String())
}

// write leaves out what repeats too much, and says how much it left out when the
// window is over.
func (o *logOutput) write(now time.Time, kind, line string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.seen) >= repeatKinds {
		clear(o.seen)
	}
	r := o.seen[kind]
	if r == nil || now.Sub(r.since) >= repeatWindow {
		if r != nil && r.count > repeatBurst {
			line += " left_out=" + strconv.Itoa(r.count-repeatBurst)
		}
		r = &repeated{since: now}
		o.seen[kind] = r
	}
	r.count++
	if r.count > repeatBurst {
		return nil
	}
	_, err := io.WriteString(o.w, line+"\n")
	return err
}

func appendAttr(b *strings.Builder, prefix string, a slog.Attr) {
	v := a.Value.Resolve()
	if a.Equal(slog.Attr{}) {
		return
	}
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, g := range v.Group() {
			appendAttr(b, prefix, g)
		}
		return
	}
	b.WriteByte(' ')
	b.WriteString(prefix)
	b.WriteString(a.Key)
	b.WriteByte('=')
	if v.Kind() == slog.KindTime {
		b.WriteString(v.Time().Format(time.RFC3339Nano))
		return
	}
	b.WriteString(quoteIf(v.String(), needsQuotes))
}

func quoteIf(s string, needs func(rune) bool) string {
	if strings.ContainsFunc(s, needs) || s == "" {
		return strconv.Quote(s)
	}
	return s
}

func needsQuotes(r rune) bool { return r == ' ' || r == '"' || r == '=' || unprintable(r) }

// unprintable keeps a hostile client id from writing lines of its own.
func unprintable(r rune) bool { return !unicode.IsPrint(r) }
