package poll

// Handler is told what happens to a connection, on a poller's goroutine. No method
// may wait.
type Handler interface {
	// Readable: bytes, an end or an error can be read, while WatchRead is on.
	Readable()
	// Writable: bytes can be written, while WatchWrite is on.
	Writable()
	// Posted: somebody called Post.
	Posted()
}
