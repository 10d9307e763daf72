package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// maxAnswer bounds what an answer may claim as its size.
const maxAnswer = 256 << 20

// wire is a bare connection: one request at a time, no retries, no metadata, so
// that the client costs little.
type wire struct {
	net.Conn
	id  int32
	buf []byte
}

func dial(addr string) (*wire, error) {
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	return &wire{Conn: c}, nil
}

// call sends a request in a version and reads its answer.
func (w *wire) call(req kmsg.Request, version int16, timeout time.Duration) (kmsg.Response, error) {
	req.SetVersion(version)
	w.id++
	w.buf = kmsg.NewRequestFormatter(kmsg.FormatterClientID("groupbench")).AppendRequest(w.buf[:0], req, w.id)
	if err := w.SetDeadline(time.Now().Add(timeout)); err != nil {
		return nil, err
	}
	if _, err := w.Write(w.buf); err != nil {
		return nil, err
	}
	var size [4]byte
	if _, err := io.ReadFull(w, size[:]); err != nil {
		return nil, err
	}
	resp := req.ResponseKind()
	header := 4
	if resp.IsFlexible() {
		header = 5
	}
	n := int(binary.BigEndian.Uint32(size[:]))
	if n < header || n > maxAnswer {
		return nil, fmt.Errorf("an answer of %d bytes", n)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(w, body); err != nil {
		return nil, err
	}
	return resp, resp.ReadFrom(body[header:])
}
