//go:build !linux

package vfs

import "errors"

var errNotCleared = errors.New("cannot end direct writing")

func canDirect(File) bool { return false }

func setDirect(File, bool) bool { return false }
