package protocol

import (
	"fmt"
	"strings"
)

// maxElements bounds the array elements of one request, all arrays together,
// since a decoder makes a struct of perhaps a hundred bytes from an element
// of two.
const maxElements = 1 << 19

// CheckRequest walks over a request body without allocating, and reports
// whether it has the structure that its key and version promise: nothing cut
// short, no null where there may be none, every element of every array really
// there, no tagged field that the version does not know. After that a decoder
// that trusts lengths is safe. Bytes after the body are allowed, as in Kafka.
// The error wraps ErrMalformed.
func CheckRequest(key, version int16, body []byte) error {
	_, err := CountElements(key, version, body)
	return err
}

// CountElements is CheckRequest that also tells how many elements the arrays of
// the body have, all together: what a decoder allocates goes with it. A request
// for all there is, by a null array, has none.
func CountElements(key, version int16, body []byte) (n int, err error) {
	_, max, ok := Supported(key)
	if !ok || version < 0 || version > max {
		return 0, fmt.Errorf("%w: version %d of %s", ErrMalformed, version, KeyName(key))
	}
	c := shapeCheck{r: reader{b: body}, version: version, flexible: Flexible(key, version)}
	c.fields(shapes[key])
	if c.r.bad {
		return 0, fmt.Errorf("%w: the body of a %s version %d, %d bytes", ErrMalformed, KeyName(key), version, len(body))
	}
	return c.elements, nil
}

// shapeCheck interprets a shape: fields separated by spaces, each
//
//	[versions:][?[from+]]type
//
// where versions are "3+" or "0-2", "?" says that null is allowed (from a
// version on), and type is one of
//
//	b h i l u   1, 2, 4, 8, 16 bytes
//	s y         string, bytes
//	[fields]    array of structs
//	<type>      array of a plain type
//
// Tagged fields stand last: [versions:]#tag(type) or [versions:]#tag{fields}.
// A version without tagged fields in general has none of them.
type shapeCheck struct {
	r        reader
	version  int16
	flexible bool
	elements int
}

// field is one field of a shape.
type field struct {
	present  bool // in this version
	nullable bool
	kind     byte   // the type, '[' or '<', or '#'
	inner    string // of an array or a tagged field
	tag      uint32
	fields   bool // a tagged field's inner is a list of fields
}

// fields checks one struct.
func (c *shapeCheck) fields(shape string) {
	tagged := ""
	for rest := shape; rest != "" && !c.r.bad; {
		at := rest
		var f field
		f, rest = c.field(rest)
		if f.kind == '#' {
			tagged = at
			break
		}
		if f.present {
			c.value(f)
		}
	}
	if !c.flexible || c.r.bad {
		return
	}
	c.r.tags(func(tag uint32, value []byte) { c.tagged(tagged, tag, value) })
}

// tagged checks a tagged field against the list of known ones. An unknown one
// may say anything.
func (c *shapeCheck) tagged(list string, tag uint32, value []byte) {
	for list != "" {
		var f field
		f, list = c.field(list)
		if f.tag != tag {
			continue
		}
		rest := c.r
		c.r = reader{b: value}
		if f.fields {
			c.fields(f.inner)
		} else {
			in, _ := c.field(f.inner)
			c.value(in)
		}
		bad := c.r.bad || !f.present
		c.r = rest
		if bad {
			c.r.fail()
		}
	}
}

func (c *shapeCheck) value(f field) {
	n := 0
	switch f.kind {
	case 'b':
		n = 1
	case 'h':
		n = 2
	case 'i':
		n = 4
	case 'l':
		n = 8
	case 'u':
		n = 16
	default:
		n = c.r.length(c.flexible, f.kind != 's')
		if n < 0 {
			if !f.nullable {
				c.r.fail()
			}
			return
		}
	}
	switch f.kind {
	case '[', '<':
		c.array(f, n)
	default:
		c.r.span(n)
	}
}

func (c *shapeCheck) array(f field, n int) {
	c.elements += n
	if n > len(c.r.b) || c.elements > maxElements { // no element is empty
		c.r.fail()
		return
	}
	if f.kind == '[' {
		for ; n > 0 && !c.r.bad; n-- {
			c.fields(f.inner)
		}
		return
	}
	in, _ := c.field(f.inner)
	for ; n > 0 && !c.r.bad; n-- {
		c.value(in)
	}
}

// field parses the first field of a shape.
func (c *shapeCheck) field(s string) (f field, rest string) {
	f.present = true
	if s[0] >= '0' && s[0] <= '9' {
		var from, to int16
		from, s = number(s)
		switch s[0] {
		case '+':
			f.present = c.version >= from
		case '-':
			to, s = number(s[1:])
			f.present = c.version >= from && c.version <= to
			s = s[len(":"):]
		}
		s = strings.TrimPrefix(s, "+:")
	}
	if s[0] == '?' {
		f.nullable = true
		s = s[1:]
		if s[0] >= '0' && s[0] <= '9' {
			var from int16
			from, s = number(s)
			f.nullable = c.version >= from
			s = s[len("+"):]
		}
	}
	f.kind = s[0]
	s = s[1:]
	if f.kind == '#' {
		var tag int16
		tag, s = number(s)
		f.tag = uint32(tag)
		f.fields = s[0] == '{'
		s = s[1:]
	}
	if f.kind == '[' || f.kind == '<' || f.kind == '#' {
		end := closing(s)
		f.inner, s = s[:end], s[end+1:]
	}
	return f, strings.TrimPrefix(s, " ")
}

// number parses the digits in front.
func number(s string) (n int16, rest string) {
	for s != "" && s[0] >= '0' && s[0] <= '9' {
		n = 10*n + int16(s[0]-'0')
		s = s[1:]
	}
	return n, s
}

// closing finds the bracket that closes the one before s.
func closing(s string) int {
	depth := 1
	for i := range len(s) {
		switch s[i] {
		case '[', '<', '(', '{':
			depth++
		case ']', '>', ')', '}':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	panic("protocol: a shape without its closing bracket: " + s)
}
