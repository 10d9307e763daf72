package group

import "fmt"

// State of a group.
//
//	Empty                no members; may hold offsets. From PreparingRebalance, or new
//	PreparingRebalance   waits for its members to join. From Empty, CompletingRebalance, Stable
//	CompletingRebalance  joins are answered; waits for the leader's assignment. From PreparingRebalance
//	Stable               everybody has, or can have, its assignment. From CompletingRebalance
//	Dead                 removed or unloaded; every request is refused. From any
type State int8

// The states of a group.
const (
	Empty State = iota
	PreparingRebalance
	CompletingRebalance
	Stable
	Dead
)

// String is the name that the protocol uses.
func (s State) String() string {
	switch s {
	case Empty:
		return "Empty"
	case PreparingRebalance:
		return "PreparingRebalance"
	case CompletingRebalance:
		return "CompletingRebalance"
	case Stable:
		return "Stable"
	case Dead:
		return "Dead"
	}
	return fmt.Sprintf("State(%d)", int8(s))
}
