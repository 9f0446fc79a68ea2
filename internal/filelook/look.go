// Package filelook tells, without reading them, whether files are those that they were. It is
// safe for concurrent use.
package filelook

import "os"

// Look is how files looked at a moment. The zero value is that of no files.
type Look []os.FileInfo

// At looks at the files. Errors name the file.
func At(paths ...string) (Look, error) {
	var l Look
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		l = append(l, info)
	}
	return l, nil
}

// Same tells whether each file looks as it did: the same one, of the same size, and not
// written to since.
func (l Look) Same(was Look) bool {
	if len(l) != len(was) {
		return false
	}
	for i, now := range l {
		if !os.SameFile(now, was[i]) || now.Size() != was[i].Size() || !now.ModTime().Equal(was[i].ModTime()) {
			return false
		}
	}
	return true
}
