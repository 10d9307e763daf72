package protocol

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// fill sets v to random values, deep.
func fill(r *rand.Rand, v reflect.Value, depth int) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(int8(r.Uint32())))
	case reflect.Float64:
		v.SetFloat(r.Float64())
	case reflect.String:
		v.SetString(string(make([]byte, r.IntN(4))))
	case reflect.Pointer:
		if r.IntN(2) == 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(r, v.Elem(), depth+1)
		}
	case reflect.Slice:
		n := r.IntN(3)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fill(r, v.Index(i), depth+1)
		}
	case reflect.Array:
		for i := range v.Len() {
			v.Index(i).SetUint(uint64(r.IntN(256)))
		}
	case reflect.Uint8:
		v.SetUint(uint64(r.IntN(256)))
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if f.Name == "UnknownTags" || !f.IsExported() {
				continue
			}
			fill(r, v.Field(i), depth+1)
		}
	}
}

// legalize takes out what a random request has and its version does not allow.
func legalize(req kmsg.Request) {
	if f, ok := req.(*kmsg.FetchRequest); ok {
		if f.Version < 15 {
			f.ReplicaState = kmsg.NewFetchRequestReplicaState()
		}
		for i := range f.Topics {
			for j := range f.Topics[i].Partitions {
				p := &f.Topics[i].Partitions[j]
				if f.Version < 17 {
					p.ReplicaDirectoryID = [16]byte{}
				}
			}
		}
	}
}

func allVersions(t *testing.T, f func(key, version int16)) {
	t.Helper()
	for key := range int16(len(apis)) {
		_, max, ok := Supported(key)
		if !ok {
			continue
		}
		for v := range max + 1 {
			f(key, v)
		}
	}
}

func TestVersionsAgreeWithKmsg(t *testing.T) {
	allVersions(t, func(key, version int16) {
		req := kmsg.RequestForKey(key)
		req.SetVersion(version)
		if req.IsFlexible() != Flexible(key, version) {
			t.Errorf("%s version %d: flexible %v, kmsg says %v", KeyName(key), version, Flexible(key, version), req.IsFlexible())
		}
		if version > req.MaxVersion() {
			t.Errorf("%s version %d: kmsg knows up to %d", KeyName(key), version, req.MaxVersion())
		}
	})
}

func TestCheckRequestTakesWhatKmsgWrites(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	allVersions(t, func(key, version int16) {
		for range 50 {
			req := kmsg.RequestForKey(key)
			fill(r, reflect.ValueOf(req).Elem(), 0)
			req.SetVersion(version)
			legalize(req)
			body := req.AppendTo(nil)
			if err := CheckRequest(key, version, append(body, "behind the body"...)); err != nil {
				t.Fatalf("%s version %d: %v\n%+v\n%x", KeyName(key), version, err, req, body)
			}
			for cut := range body {
				if err := CheckRequest(key, version, body[:cut]); !errors.Is(err, ErrMalformed) {
					t.Fatalf("%s version %d cut to %d of %d bytes: got %v, want ErrMalformed", KeyName(key), version, cut, len(body), err)
				}
			}
		}
	})
}

func TestCheckRequestRefuses(t *testing.T) {
	for _, tc := range []struct {
		name         string
		key, version int16
		body         string
	}{
		{"array longer than the frame", KeyMetadata, 1, "\x7f\xff\xff\xff"},
		{"compact array longer than the frame", KeyMetadata, 12, "\xff\xff\xff\xff\x0f\x01\x01\x00"},
		{"null array where none may be", KeyMetadata, 0, "\xff\xff\xff\xff"},
		{"null string where none may be", KeySASLHandshake, 0, "\xff\xff"},
		{"four billion tagged fields", KeyMetadata, 12, "\x00\x01\x01\xff\xff\xff\xff\x0f"},
		{"four billion tagged fields of an element", KeyMetadata, 12, "\x02" + string(make([]byte, 16)) + "\x00\xff\xff\xff\xff\x0f\x01\x01\x00"},
		{"tag that the version does not know", KeyFetch, 14,
			"\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x01\x01\x01\x01\x0d\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01\x00"},
		{"unknown key", 200, 0, ""},
		{"unknown version", KeyMetadata, 13, "\x00\x01\x01\x00"},
	} {
		if err := CheckRequest(tc.key, tc.version, []byte(tc.body)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %v, want ErrMalformed", tc.name, err)
		}
	}
	if err := CheckRequest(KeyMetadata, 1, []byte("\xff\xff\xff\xfe")); err != nil {
		t.Errorf("negative length of a nullable array: %v, want it taken as null", err)
	}
}

func TestCheckRequestBoundsElements(t *testing.T) {
	body := append([]byte{0, 0x10, 0, 0}, make([]byte, 2<<20)...) // 1M empty names
	if err := CheckRequest(KeyMetadata, 0, body); !errors.Is(err, ErrMalformed) {
		t.Errorf("a million topics in one request: got %v, want ErrMalformed", err)
	}
}

// FuzzCheckRequest: what passes the check, kmsg decodes.
func FuzzCheckRequest(f *testing.F) {
	f.Add(int16(3), int16(12), []byte("\x00\x01\x01\x00"))
	f.Add(int16(1), int16(17), []byte("\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x01\x01\x00"))
	r := rand.New(rand.NewPCG(3, 4))
	for key := range int16(len(apis)) {
		_, max, ok := Supported(key)
		if !ok {
			continue
		}
		req := kmsg.RequestForKey(key)
		fill(r, reflect.ValueOf(req).Elem(), 0)
		req.SetVersion(max)
		f.Add(key, max, req.AppendTo(nil))
	}
	f.Fuzz(func(t *testing.T, key, version int16, body []byte) {
		if CheckRequest(key, version, body) != nil {
			return
		}
		req := kmsg.RequestForKey(key)
		req.SetVersion(version)
		if err := req.ReadFrom(body); err != nil && !(key == KeyFetch && version >= 12) {
			t.Fatalf("%s version %d passed the check, kmsg says: %v", KeyName(key), version, err)
		}
	})
}
