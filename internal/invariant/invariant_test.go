package invariant

import (
	"errors"
	"testing"
)

func TestCheck(t *testing.T) {
	if err := Check(true, "fine"); err != nil {
		t.Fatal(err)
	}
	var err error
	func() {
		defer func() {
			if r := recover(); r != nil {
				if !Enabled {
					t.Fatal("Check panics in a production build")
				}
				err = r.(error)
			}
		}()
		err = Check(false, "offset %d below %d", 3, 4)
	}()
	var broken *BrokenError
	if !errors.As(err, &broken) || broken.What != "offset 3 below 4" {
		t.Fatalf("got %v", err)
	}
}

func TestPoison(t *testing.T) {
	b := []byte{1, 2}
	Poison(b)
	if changed := b[0] == 0xdb && b[1] == 0xdb; changed != Enabled {
		t.Fatalf("got % x with Enabled = %v", b, Enabled)
	}
}
