package offspring

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/windows"
)

// attributeJobs is PROC_THREAD_ATTRIBUTE_JOB_LIST of winbase.h: jobs that a process is in from the moment
// in which it is made.
const attributeJobs = 0x0002000D

// start makes a process without a console, in a group of its own, which this one's Ctrl-C does not reach.
//
// CreateProcess makes the process suspended, tells the subsystem, and resumes it. Were this process killed between, the
// other would stay for ever, without having run, and with the handles that it got. So it is made in a
// job that ends what is in it with its last handle, which this process alone has and which closes with it. Once the
// process runs the job lets it go on. Package os/exec has no way to name a job.
func start(c Command) (*os.Process, error) {
	if len(c.Files) > 0 {
		return nil, fmt.Errorf("%d files by number: %w", len(c.Files), errors.ErrUnsupported)
	}
	job, err := newJob()
	if err != nil {
		return nil, err
	}
	defer windows.CloseHandle(job)
	info, err := create(c, job, 0)
	if err != nil {
		return nil, err
	}
	defer windows.CloseHandle(info.Process)
	defer windows.CloseHandle(info.Thread)
	// By the handle that is still open the number stays the process's own.
	p, err := os.FindProcess(int(info.ProcessId))
	if err != nil {
		return nil, err // it ends with the job
	}
	if err := letGo(job); err != nil {
		return nil, errors.Join(err, p.Release())
	}
	return p, nil
}

// newJob makes a job that kills what is in it when its last handle is closed.
func newJob() (windows.Handle, error) {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return 0, fmt.Errorf("create job: %w", err)
	}
	if err := limit(job, windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE); err != nil {
		return 0, errors.Join(err, windows.CloseHandle(job))
	}
	return job, nil
}

// letGo takes the limit of newJob away: what is in the job runs on.
func letGo(job windows.Handle) error { return limit(job, 0) }

func limit(job windows.Handle, flags uint32) error {
	var limits windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION
	limits.BasicLimitInformation.LimitFlags = flags
	_, err := windows.SetInformationJobObject(job, windows.JobObjectExtendedLimitInformation,
		uintptr(unsafe.Pointer(&limits)), uint32(unsafe.Sizeof(limits)))
	if err != nil {
		return fmt.Errorf("set limits of job: %w", err)
	}
	return nil
}

// create makes the process in the job. flags are further ones for its creation.
func create(c Command, job windows.Handle, flags uint32) (*windows.ProcessInformation, error) {
	path, err := windows.UTF16PtrFromString(c.Path)
	if err != nil {
		return nil, err
	}
	line, err := windows.UTF16PtrFromString(windows.ComposeCommandLine(append([]string{c.Path}, c.Args...)))
	if err != nil {
		return nil, err
	}
	var dir *uint16
	if c.Dir != "" {
		if dir, err = windows.UTF16PtrFromString(c.Dir); err != nil {
			return nil, err
		}
	}
	std, err := openStd(c)
	if err != nil {
		return nil, err
	}
	defer std.close()
	attributes, err := windows.NewProcThreadAttributeList(2)
	if err != nil {
		return nil, fmt.Errorf("make attributes: %w", err)
	}
	defer attributes.Delete()
	// Of the handles that may be inherited, these alone.
	if err := attributes.Update(windows.PROC_THREAD_ATTRIBUTE_HANDLE_LIST, unsafe.Pointer(&std.handles[0]), unsafe.Sizeof(std.handles)); err != nil {
		return nil, fmt.Errorf("set handles: %w", err)
	}
	if err := attributes.Update(attributeJobs, unsafe.Pointer(&job), unsafe.Sizeof(job)); err != nil {
		return nil, fmt.Errorf("set job: %w", err)
	}
	startup := windows.StartupInfoEx{
		StartupInfo: windows.StartupInfo{
			Flags: windows.STARTF_USESTDHANDLES, StdInput: std.handles[0], StdOutput: std.handles[1], StdErr: std.handles[2],
		},
		ProcThreadAttributeList: attributes.List(),
	}
	startup.Cb = uint32(unsafe.Sizeof(startup))
	flags |= windows.EXTENDED_STARTUPINFO_PRESENT | windows.DETACHED_PROCESS | windows.CREATE_NEW_PROCESS_GROUP
	var info windows.ProcessInformation
	err = windows.CreateProcess(path, line, nil, nil, true, flags, nil, dir, &startup.StartupInfo, &info)
	runtime.KeepAlive(std)
	runtime.KeepAlive(&job)
	if err != nil {
		return nil, fmt.Errorf("CreateProcess: %w", err)
	}
	return &info, nil
}

// std holds the three handles that a process begins with, as copies that it inherits.
type std struct{ handles [3]windows.Handle }

func openStd(c Command) (_ *std, err error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	s := &std{}
	self := windows.CurrentProcess()
	for i, f := range []*os.File{nil, c.Stdout, c.Stderr} {
		if f == nil || f.Fd() == 0 { // a service begins with none
			f = null
		}
		if err := windows.DuplicateHandle(self, windows.Handle(f.Fd()), self, &s.handles[i], 0, true, windows.DUPLICATE_SAME_ACCESS); err != nil {
			s.close()
			return nil, fmt.Errorf("duplicate handle %d: %w", i, err)
		}
	}
	return s, nil
}

func (s *std) close() {
	for _, h := range s.handles {
		if h != 0 {
			_ = windows.CloseHandle(h)
		}
	}
}
