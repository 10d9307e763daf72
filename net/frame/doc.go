// Package frame carries length-prefixed frames over connections: Reader takes
// them in, Writer sends bytes and ranges of files out.
//
// A Reader holds no memory while its connection is idle, and never more than a
// multiple of what has arrived, whatever length a frame claims. A Writer sends
// small pieces with one system call and large ranges of files with sendfile,
// and gives up on a peer that takes nothing for a time.
//
// The package knows nothing of what the frames say.
package frame
