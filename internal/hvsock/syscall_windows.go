package hvsock

// What golang.org/x/sys/windows does for the families that it knows.

//sys connect(s windows.Handle, addr unsafe.Pointer, size int32) (err error) [failretval!=0] = ws2_32.connect
