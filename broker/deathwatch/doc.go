// Package deathwatch watches the processes of the other brokers. It keeps one
// idle connection to each, dials where controller/detector says, asks others
// what they see, and takes verdicts to the controller of this broker.
//
// Run's goroutine lets time pass; each connection, dial, question and verdict has
// a goroutine of its own, and Run waits for all of them at its end. There are at
// most a few of them per broker. One lock guards the detector and the table of
// connections; nothing is waited for while it is held.
//
// A broker whose registration does not allow verdicts is not watched. An idle
// connection that its broker closes for being idle is made again.
package deathwatch
