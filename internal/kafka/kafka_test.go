package kafka

import (
	"errors"
	"strings"
	"testing"
)

func TestPartitionForMatchesJava(t *testing.T) {
	for key, want := range map[string]int32{"test-group": 12, "tx1": 45, "grüße😀": 40} {
		if got := PartitionFor(key, 50); got != want {
			t.Errorf("PartitionFor(%q, 50) = %d, want %d", key, got, want)
		}
	}
}

func TestValidateTopicName(t *testing.T) {
	for _, ok := range []string{"a", "A.b_c-9", strings.Repeat("x", 249), "__consumer_offsets"} {
		if err := ValidateTopicName(ok); err != nil {
			t.Errorf("%q refused: %v", ok, err)
		}
	}
	for _, bad := range []string{"", ".", "..", "a b", "ü", "a/b", strings.Repeat("x", 250)} {
		if err := ValidateTopicName(bad); !errors.Is(err, ErrInvalidTopicName) {
			t.Errorf("%q: got %v, want ErrInvalidTopicName", bad, err)
		}
	}
}

func TestTopicIDText(t *testing.T) {
	id, err := ParseTopicID("8G_1sVf8Rj6l2pDqCZcCtw")
	if err != nil {
		t.Fatal(err)
	}
	if got := id.String(); got != "8G_1sVf8Rj6l2pDqCZcCtw" {
		t.Errorf("got %s", got)
	}
	if _, err := ParseTopicID("short"); err == nil {
		t.Error("a short id was accepted")
	}
	if a, b := NewTopicID(), NewTopicID(); a == b || a.IsZero() {
		t.Errorf("ids %s and %s", a, b)
	}
}

func TestTopicPartitionText(t *testing.T) {
	tp, err := ParseTopicPartition("a-b-12")
	if err != nil || tp != (TopicPartition{"a-b", 12}) || tp.String() != "a-b-12" {
		t.Errorf("got %v, %v", tp, err)
	}
	for _, bad := range []string{"", "a", "-1", "a-", "a-x", "a--1x", "a-99999999999"} {
		if _, err := ParseTopicPartition(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
