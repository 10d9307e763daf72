package devzk

import "time"

// What a txn is.
const (
	txnChanges      = 1
	txnOpenSession  = 2
	txnCloseSession = 3
)

// txn is a transaction that has happened: the unit of the log.
type txn struct {
	zxid int64
	time int64 // Unix milliseconds
	kind uint8

	changes []change // of txnChanges

	session  int64 // of the other two
	timeout  time.Duration
	password []byte
}
