package protocol

import "errors"

// Error is a Kafka error code. As a Go error it may travel in a chain of
// wrapped errors; CodeOf finds it there.
type Error int16

type errorInfo struct {
	name, message string
	retriable     bool
}

// Code is the number on the wire.
func (e Error) Code() int16 { return int16(e) }

// Name is Kafka's constant, such as NOT_LEADER_OR_FOLLOWER. A number that
// Kafka 3.9 does not have is called UNKNOWN_SERVER_ERROR.
func (e Error) Name() string { return e.info().name }

// Message is Kafka's text, as answers of older versions carry it. It is empty
// for None.
func (e Error) Message() string { return e.info().message }

// Retriable reports whether clients may send the request again.
func (e Error) Retriable() bool { return e.info().retriable }

// Error implements error.
func (e Error) Error() string { return e.Name() }

func (e Error) info() errorInfo {
	i := int(e) + 1
	if i < 0 || i >= len(errorTable) || errorTable[i].name == "" {
		i = int(UnknownServerError) + 1
	}
	return errorTable[i]
}

// A Failure is an error code with what an answer can tell beside it.
type Failure struct {
	Code Error
	// Message is sent to the client where the version has room for it; empty
	// means null.
	Message string
	// Records names the records at fault (Produce v8 and later).
	Records []RecordError
	// LogStartOffset is what a Produce answer shows for an error that was found
	// by the log; -1 for one found before the append.
	LogStartOffset int64
}

// RecordError names one refused record of a batch.
type RecordError struct {
	// Index counts the records of the batch from 0.
	Index int32
	// Message is empty for null.
	Message string
}

// Fail returns a Failure without records, found before an append.
func Fail(code Error, message string) *Failure {
	return &Failure{Code: code, Message: message, LogStartOffset: -1}
}

// Error implements error.
func (f *Failure) Error() string {
	if f.Message == "" {
		return f.Code.Name()
	}
	return f.Code.Name() + ": " + f.Message
}

// Unwrap lets errors.Is find the code.
func (f *Failure) Unwrap() error { return f.Code }

// CodeOf returns the code that err carries in its chain: None for nil, and
// UnknownServerError when there is no code.
func CodeOf(err error) Error {
	if err == nil {
		return None
	}
	var e Error
	if errors.As(err, &e) {
		return e
	}
	return UnknownServerError
}
