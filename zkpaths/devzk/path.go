package devzk

import "strings"

// validPath applies the rules of org.apache.zookeeper.common.PathUtils.
func validPath(path string) bool {
	if path == "" || path[0] != '/' {
		return false
	}
	if path == "/" {
		return true
	}
	for name := range strings.SplitSeq(path[1:], "/") {
		if name == "" || name == "." || name == ".." {
			return false
		}
	}
	for _, r := range path {
		switch {
		case r <= 0x1f, r >= 0x7f && r <= 0x9f,
			r >= 0xd800 && r <= 0xf8ff, // surrogates and private use, as Java sees them
			r >= 0xfff0 && r <= 0xffff, // bytes that are not UTF-8 come here, too
			r > 0xffff:                 // a surrogate pair in Java
			return false
		}
	}
	return true
}

// splitPath gives the parent and the last name; the parent of "/a" is "/".
func splitPath(path string) (parent, name string) {
	i := strings.LastIndexByte(path, '/')
	if i <= 0 {
		return "/", path[i+1:]
	}
	return path[:i], path[i+1:]
}

// reserved are the paths that cannot be deleted.
func reserved(path string) bool {
	return path == "/" || path == "/zookeeper" || path == "/zookeeper/quota" || path == "/zookeeper/config"
}
