/* computecore.dll of the emulator: each function is passed on to the service, which checks
   its arguments. What is done here is what has to be in the caller's process: callbacks,
   and the VM worker's end of a serial port's pipe. Strings come from the allocator of
   COM tasks. */
#include "emu.h"

typedef void *HANDLE64;
typedef void(CALLBACK *EVENT_CALLBACK)(void *event, void *context);
typedef struct { DWORD type; const WCHAR *data; void *op; } EVENT;

void hook_sockets(void);

/* callbacks that are set */
typedef struct CB {
	struct CB *next;
	char id[32];
	HANDLE64 system;
	EVENT_CALLBACK cb;
	void *context;
} CB;
static CRITICAL_SECTION lock; /* held while one is called: closing a handle waits for that */
static CB *callbacks;
static LONG last;

#define HCS_EVENT_SERVICE_DISCONNECT 0x02000000

static DWORD WINAPI serial_port(void *p)
{
	FRAME *f = p; /* "serial", the pipe, the number of the stream */
	WCHAR *pipe = emu_wide(f->strings[1]);
	/* Wine 8's first instance of a pipe of go-winio takes a client and never tells its
	   server: it is thrown away. */
	HANDLE h = CreateFileW(pipe, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING, 0, NULL);
	if (h != INVALID_HANDLE_VALUE)
		CloseHandle(h);
	h = INVALID_HANDLE_VALUE;
	for (int i = 0; i < 100 && h == INVALID_HANDLE_VALUE; i++) {
		h = CreateFileW(pipe, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING, 0, NULL);
		if (h == INVALID_HANDLE_VALUE)
			Sleep(20);
	}
	const char *hello[] = {"stream", emu_session(), f->strings[2]};
	SOCKET s = emu_connect();
	FRAME answer;
	if (s != INVALID_SOCKET && emu_send(s, hello, 3) == 0 && emu_recv(s, &answer) == 0) {
		emu_free(&answer);
		char b[4096];
		int n;
		DWORD k;
		while ((n = recv(s, b, sizeof b, 0)) > 0)
			if (h != INVALID_HANDLE_VALUE && !WriteFile(h, b, n, &k, NULL)) {
				CloseHandle(h);
				h = INVALID_HANDLE_VALUE;
			}
	}
	if (s != INVALID_SOCKET)
		closesocket(s);
	if (h != INVALID_HANDLE_VALUE) {
		FlushFileBuffers(h);
		CloseHandle(h);
	}
	CoTaskMemFree(pipe);
	emu_free(f);
	free(f);
	return 0;
}

static void tell(CB *c, DWORD type, const char *data)
{
	WCHAR *w = emu_wide(data);
	EVENT e = {type, w, NULL};
	c->cb(&e, c->context);
	CoTaskMemFree(w);
}

static void on_frame(FRAME *f)
{
	if (f && f->n == 3 && !strcmp(f->strings[0], "serial")) {
		FRAME *mine = malloc(sizeof *mine);
		*mine = *f;
		f->n = 0; /* taken over */
		f->strings = NULL;
		CloseHandle(CreateThread(NULL, 0, serial_port, mine, 0, NULL));
		return;
	}
	EnterCriticalSection(&lock);
	for (CB *c = callbacks; c; c = c->next) {
		if (!f)
			tell(c, HCS_EVENT_SERVICE_DISCONNECT, "");
		else if (f->n == 3 && !strcmp(f->strings[0], "event") && !strcmp(f->strings[1], c->id))
			tell(c, f->code, f->strings[2]);
	}
	LeaveCriticalSection(&lock);
}

BOOL WINAPI DllMain(HINSTANCE dll, DWORD why, void *reserved)
{
	if (why == DLL_PROCESS_ATTACH) {
		InitializeCriticalSection(&lock);
		emu_on_frame = on_frame;
		hook_sockets();
	}
	return TRUE;
}

static WCHAR *text(HANDLE64 h, WCHAR *b)
{
	swprintf(b, 24, L"%llu", (unsigned long long)(ULONG_PTR)h);
	return b;
}

static HANDLE64 handle(WCHAR *w)
{
	HANDLE64 h = w ? (HANDLE64)(ULONG_PTR)_wcstoui64(w, NULL, 10) : NULL;
	CoTaskMemFree(w);
	return h;
}

HANDLE64 WINAPI HcsCreateOperation(void *context, void *callback)
{
	WCHAR *out;
	if (context || callback)
		return NULL; /* nobody asks for these */
	emu_call("HcsCreateOperation", NULL, 0, &out, 1);
	return handle(out);
}

void WINAPI HcsCloseOperation(HANDLE64 op)
{
	WCHAR o[24], *out;
	const WCHAR *args[] = {text(op, o)};
	emu_call("HcsCloseOperation", args, 1, &out, 0);
}

HRESULT WINAPI HcsGetOperationResult(HANDLE64 op, WCHAR **doc)
{
	WCHAR o[24];
	const WCHAR *args[] = {text(op, o)};
	return emu_call("HcsGetOperationResult", args, 1, doc, 1);
}

HRESULT WINAPI HcsWaitForOperationResult(HANDLE64 op, DWORD ms, WCHAR **doc)
{
	WCHAR o[24];
	const WCHAR *args[] = {text(op, o)};
	return ms == INFINITE ? emu_call("HcsWaitForOperationResult", args, 1, doc, 1) : E_INVALIDARG;
}

HRESULT WINAPI HcsCreateComputeSystem(const WCHAR *id, const WCHAR *doc, HANDLE64 op, void *sd, HANDLE64 *system)
{
	WCHAR o[24], *out;
	const WCHAR *args[] = {id, doc, text(op, o)};
	if (sd)
		return E_INVALIDARG;
	HRESULT hr = emu_call("HcsCreateComputeSystem", args, 3, &out, 1);
	*system = handle(out);
	return hr;
}

HRESULT WINAPI HcsOpenComputeSystem(const WCHAR *id, DWORD access, HANDLE64 *system)
{
	WCHAR *out;
	const WCHAR *args[] = {id};
	if (access != GENERIC_ALL)
		return E_INVALIDARG;
	HRESULT hr = emu_call("HcsOpenComputeSystem", args, 1, &out, 1);
	*system = handle(out);
	return hr;
}

void WINAPI HcsCloseComputeSystem(HANDLE64 system)
{
	WCHAR s[24], *out;
	const WCHAR *args[] = {text(system, s)};
	EnterCriticalSection(&lock);
	for (CB **p = &callbacks; *p;) {
		CB *c = *p;
		if (c->system == system) {
			*p = c->next;
			free(c);
		} else
			p = &c->next;
	}
	LeaveCriticalSection(&lock);
	emu_call("HcsCloseComputeSystem", args, 1, &out, 0);
}

HRESULT WINAPI HcsSetComputeSystemCallback(HANDLE64 system, DWORD options, void *context, EVENT_CALLBACK cb)
{
	WCHAR s[24], id[24], *out;
	const WCHAR *args[] = {text(system, s), id};
	if (options || !cb)
		return E_INVALIDARG;
	CB *c = calloc(1, sizeof *c);
	swprintf(id, 24, L"%ld", InterlockedIncrement(&last));
	char *u = emu_utf8(id);
	snprintf(c->id, sizeof c->id, "%s", u);
	free(u);
	c->system = system;
	c->cb = cb;
	c->context = context;
	EnterCriticalSection(&lock);
	c->next = callbacks;
	callbacks = c;
	LeaveCriticalSection(&lock);
	HRESULT hr = emu_call("HcsSetComputeSystemCallback", args, 2, &out, 0);
	if (FAILED(hr)) {
		EnterCriticalSection(&lock);
		for (CB **p = &callbacks; *p; p = &(*p)->next)
			if (*p == c) {
				*p = c->next;
				free(c);
				break;
			}
		LeaveCriticalSection(&lock);
	}
	return hr;
}

static HRESULT verb(const char *name, HANDLE64 system, HANDLE64 op, const WCHAR *doc)
{
	WCHAR s[24], o[24], *out;
	const WCHAR *args[] = {text(system, s), text(op, o), doc};
	return emu_call(name, args, 3, &out, 0);
}

#define VERB(name)                                                                                                             \
	HRESULT WINAPI name(HANDLE64 system, HANDLE64 op, const WCHAR *doc) { return verb(#name, system, op, doc); }
VERB(HcsStartComputeSystem)
VERB(HcsTerminateComputeSystem)
VERB(HcsPauseComputeSystem)
VERB(HcsResumeComputeSystem)
VERB(HcsSaveComputeSystem)
VERB(HcsGetComputeSystemProperties)

HRESULT WINAPI HcsModifyComputeSystem(HANDLE64 system, HANDLE64 op, const WCHAR *doc, HANDLE identity)
{
	return identity ? E_INVALIDARG : verb("HcsModifyComputeSystem", system, op, doc);
}

HRESULT WINAPI HcsEnumerateComputeSystems(const WCHAR *query, HANDLE64 op)
{
	WCHAR o[24], *out;
	const WCHAR *args[] = {query, text(op, o)};
	return emu_call("HcsEnumerateComputeSystems", args, 2, &out, 0);
}

HRESULT WINAPI HcsGetServiceProperties(const WCHAR *query, WCHAR **doc)
{
	const WCHAR *args[] = {query};
	return emu_call("HcsGetServiceProperties", args, 1, doc, 1);
}

static HRESULT files(const char *name, const WCHAR *id, const WCHAR *path)
{
	WCHAR full[MAX_PATH * 4], *out;
	const WCHAR *args[] = {id, full};
	DWORD n = path ? GetFullPathNameW(path, MAX_PATH * 4, full, NULL) : 0;
	return n && n < MAX_PATH * 4 ? emu_call(name, args, 2, &out, 0) : E_INVALIDARG;
}
HRESULT WINAPI HcsGrantVmAccess(const WCHAR *id, const WCHAR *path) { return files("HcsGrantVmAccess", id, path); }
HRESULT WINAPI HcsRevokeVmAccess(const WCHAR *id, const WCHAR *path) { return files("HcsRevokeVmAccess", id, path); }
HRESULT WINAPI HcsGrantVmGroupAccess(const WCHAR *path) { return files("HcsGrantVmGroupAccess", L"", path); }
HRESULT WINAPI HcsCreateEmptyRuntimeStateFile(const WCHAR *path) { return files("HcsCreateEmptyRuntimeStateFile", L"", path); }
