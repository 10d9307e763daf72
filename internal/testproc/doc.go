// Package testproc runs other programs for tests: they die with the process
// that started them, whatever ends it, and what they print is kept in a file
// that a failing test shows.
package testproc
