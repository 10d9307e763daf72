package log

import (
	"fmt"
	"path"
	"strings"
	"testing"

	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
	"barnabas/log/checkpoint"
)

// TestEpochsFollowTheBatches: a file of leader epochs that a full disk has left behind
// does not outlive a restart. It lacks the newest epochs, or has one that was taken
// back before a record came of it.
func TestEpochsFollowTheBatches(t *testing.T) {
	const end = 30
	value := strings.Repeat("v", 100)
	for name, file := range map[string][]checkpoint.Epoch{
		"good":                         {{Epoch: 1}, {Epoch: 3, StartOffset: 10}, {Epoch: 5, StartOffset: 20}},
		"two are missing":              {{Epoch: 1}},
		"one is missing":               {{Epoch: 1}, {Epoch: 3, StartOffset: 10}},
		"one was taken back":           {{Epoch: 1}, {Epoch: 3, StartOffset: 10}, {Epoch: 6, StartOffset: 20}},
		"one is above an epoch's end":  {{Epoch: 1}, {Epoch: 3, StartOffset: 10}, {Epoch: 7, StartOffset: 25}},
		"one was taken back long ago":  {{Epoch: 1}, {Epoch: 4, StartOffset: 10}},
		"one is above the log's end":   {{Epoch: 1}, {Epoch: 6, StartOffset: 40}},
		"one was of records cut since": {{Epoch: 1}, {Epoch: 2, StartOffset: 5}, {Epoch: 6, StartOffset: 15}},
	} {
		for _, recovery := range []int64{0, 9, 10, 20, 24, 25, end, -1} { // -1: a clean stop
			t.Run(fmt.Sprintf("%s/%d", name, recovery), func(t *testing.T) {
				mem := vfs.NewMem()
				l := openTest(t, mem, testOptions(), nil)
				for i := range end {
					_, err := l.AppendAsLeader(makeBatch(t, 1, value, nil, false), kafka.LeaderEpoch(1+2*(i/10)), Client)
					must(t, err)
				}
				must(t, l.Close())
				must(t, checkpoint.WriteEpochs(mem, path.Join("/d/t-0", checkpoint.EpochsFile), file))
				l = openTest(t, mem, testOptions(), func(o *OpenOptions) { o.Clean, o.RecoveryPoint = recovery < 0, max(recovery, 0) })
				defer l.Close()
				for e, want := range map[kafka.LeaderEpoch]int64{1: 10, 3: 20, 5: end} {
					if epoch, got := l.EndOffsetForEpoch(e); epoch != e || got != want {
						t.Errorf("epoch %d ends, in epoch %d, at %d; want %d", e, epoch, got, want)
					}
				}
			})
		}
	}
}

// TestEpochsOfWhatIsCopied: an epoch that no record came of makes way for records of one
// below it.
func TestEpochsOfWhatIsCopied(t *testing.T) {
	l := openTest(t, vfs.NewMem(), testOptions(), nil)
	defer l.Close()
	copied := func(at int64, e kafka.LeaderEpoch) {
		t.Helper()
		other := openTest(t, vfs.NewMem(), testOptions(), func(o *OpenOptions) { o.StartOffset = at })
		defer other.Close()
		b := makeBatch(t, 1, "v", nil, false)
		_, err := other.AppendAsLeader(b, e, Client) // which writes offset and epoch into it
		must(t, err)
		_, err = l.AppendAsFollower(b)
		must(t, err)
	}
	copied(0, 3)
	must(t, l.AssignEpoch(6, 1))
	copied(1, 3)
	copied(2, 7)
	for e, want := range map[kafka.LeaderEpoch]int64{3: 2, 7: 3} {
		if epoch, got := l.EndOffsetForEpoch(e); epoch != e || got != want {
			t.Errorf("epoch %d ends, in epoch %d, at %d; want %d", e, epoch, got, want)
		}
	}
}
