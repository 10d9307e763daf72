package batch

import (
	"bytes"
	"io"

	"github.com/klauspost/compress/gzip"
)

// gunzipper is a reusable reader with its source.
type gunzipper struct {
	src bytes.Reader
	z   gzip.Reader
}

func (c *Codecs) gunzipTo(o *opened, src []byte) error {
	g, ok := c.gunzip.Get().(*gunzipper)
	if !ok {
		g = new(gunzipper)
	}
	defer func() {
		g.src.Reset(nil)
		c.gunzip.Put(g)
	}()
	g.src.Reset(src)
	if err := g.z.Reset(&g.src); err != nil {
		return badBytes(Gzip, err)
	}
	return readTo(o, &g.z, Gzip, 4*len(src))
}

// readTo appends all of r, of which about guess bytes are expected.
func readTo(o *opened, r io.Reader, codec Codec, guess int) error {
	step := max(512, min(guess, 1<<20))
	for {
		// One byte more than allowed tells the end from too much.
		left := o.left()
		room, err := o.room(min(step, left))
		if err != nil {
			return err
		}
		if left == 0 {
			var one [1]byte
			n, err := io.ReadFull(r, one[:])
			switch {
			case n == 1:
				return ErrLimit
			case err == io.EOF:
				return nil
			}
			return badBytes(codec, err)
		}
		n, err := r.Read(room)
		o.took(n)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return badBytes(codec, err)
		}
		step = max(512, min(cap(o.b)-len(o.b), 1<<20))
		if cap(o.b) == len(o.b) {
			step = min(len(o.b), 1<<20)
		}
	}
}

// gzipper is a reusable writer and the level that it was made for.
type gzipper struct {
	level int
	z     *gzip.Writer
}

func (c *Codecs) compressGzip(level int, dst, src []byte) ([]byte, error) {
	if level <= DefaultLevel {
		level = gzip.DefaultCompression
	} else {
		level = min(max(level, gzip.BestSpeed), gzip.BestCompression)
	}
	out := bytes.NewBuffer(dst)
	g, ok := c.gzip.Get().(*gzipper)
	if ok && g.level == level {
		g.z.Reset(out)
	} else {
		z, err := gzip.NewWriterLevel(out, level)
		if err != nil {
			return dst, err
		}
		g = &gzipper{level: level, z: z}
	}
	if _, err := g.z.Write(src); err != nil {
		return dst, err
	}
	if err := g.z.Close(); err != nil {
		return dst, err
	}
	g.z.Reset(nil)
	c.gzip.Put(g)
	return out.Bytes(), nil
}
