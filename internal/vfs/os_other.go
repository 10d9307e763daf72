//go:build !linux

package vfs

import "os"

// dropCache: the system finds out by itself what nobody reads.
func dropCache(*os.File) {}

// Preallocate reserves nothing here: appends cost more, and find out by themselves that
// the disk is full.
func (f *osFile) Preallocate(off, length int64) error { return nil }

// Sync is Go's, which asks the drive to write its cache where the system's fsync does
// not (macOS).
func (f *osFile) Sync() error { return f.f.Sync() }
