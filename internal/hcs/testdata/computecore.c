/* A computecore.dll for TestLibrary_Stub, which checks how Go calls one: it does next to
   nothing, but is strict about its arguments, calls back from a thread of its own, and counts what is
   open. Strings come from the allocator of COM tasks, as HCS has it.

   x86_64-w64-mingw32-gcc -shared -o computecore.dll computecore.c -lole32 */
#include <windows.h>
#include <objbase.h>
#include <stdlib.h>
#include <wchar.h>

typedef struct { HRESULT hr; WCHAR *doc; } OP;
typedef void (CALLBACK *EVENT_CALLBACK)(void *event, void *context);
typedef struct { DWORD type; const WCHAR *data; void *op; } EVENT;
typedef struct { WCHAR id[64]; EVENT_CALLBACK cb; void *context; } SYS;

static LONG allocated; /* operations and handles that are open */

/* By this the test knows the library. */
void WINAPI PortholeTestLibrary(void) {}

static WCHAR *dup(const WCHAR *s)
{
	size_t n = (wcslen(s) + 1) * sizeof(WCHAR);
	WCHAR *p = CoTaskMemAlloc(n);
	memcpy(p, s, n);
	return p;
}

static HRESULT end(OP *op, HRESULT hr, const WCHAR *doc)
{
	op->hr = hr;
	op->doc = doc ? dup(doc) : NULL;
	return S_OK;
}

OP *WINAPI HcsCreateOperation(void *c, void *cb) { InterlockedIncrement(&allocated); return calloc(1, sizeof(OP)); }
void WINAPI HcsCloseOperation(OP *op) { InterlockedDecrement(&allocated); free(op); }
HRESULT WINAPI HcsGetOperationResult(OP *op, WCHAR **doc) { *doc = op->doc; return op->hr; }
HRESULT WINAPI HcsWaitForOperationResult(OP *op, DWORD ms, WCHAR **doc)
{
	if (ms != INFINITE)
		return E_INVALIDARG;
	*doc = op->doc;
	return op->hr;
}
HRESULT WINAPI HcsCreateComputeSystem(const WCHAR *id, const WCHAR *doc, OP *op, void *sd, SYS **out)
{
	if (sd || !wcsstr(doc, L"\"Owner\":\"porthole\""))
		return E_INVALIDARG;
	if (!wcscmp(id, L"refused")) {
		op->doc = dup(L"{\"ErrorEvents\":[{\"Message\":\"not \u00e4llowed\"}]}");
		return 0x8037011B;
	}
	SYS *s = calloc(1, sizeof(SYS));
	InterlockedIncrement(&allocated);
	wcsncpy(s->id, id, 63);
	*out = s;
	return end(op, S_OK, NULL);
}
HRESULT WINAPI HcsOpenComputeSystem(const WCHAR *id, DWORD access, SYS **out) { return access == GENERIC_ALL ? 0x8037010E : E_INVALIDARG; }
void WINAPI HcsCloseComputeSystem(SYS *s) { InterlockedDecrement(&allocated); free(s); }

static DWORD WINAPI tell(void *p)
{
	SYS *s = p;
	EVENT crash = {3, L"{\"CrashLog\":\"Kernel panic\"}", NULL}, end = {1, L"{\"Status\":-1070137082,\"ExitType\":\"UnexpectedExit\"}", NULL};
	s->cb(&crash, s->context);
	s->cb(&end, s->context);
	return 0;
}
HRESULT WINAPI HcsStartComputeSystem(SYS *s, OP *op, const WCHAR *o)
{
	if (o)
		return E_INVALIDARG;
	HANDLE t = CreateThread(NULL, 0, tell, s, 0, NULL); /* a thread that Go has never seen */
	WaitForSingleObject(t, INFINITE);
	CloseHandle(t);
	return end(op, S_OK, NULL);
}
HRESULT WINAPI HcsTerminateComputeSystem(SYS *s, OP *op, const WCHAR *o) { return end(op, 0xC0370110, L"{\"ErrorMessage\":\"gone\"}"); }
HRESULT WINAPI HcsPauseComputeSystem(SYS *s, OP *op, const WCHAR *o) { return end(op, S_OK, NULL); }
HRESULT WINAPI HcsResumeComputeSystem(SYS *s, OP *op, const WCHAR *o) { return end(op, S_OK, NULL); }
HRESULT WINAPI HcsSaveComputeSystem(SYS *s, OP *op, const WCHAR *o) { return o && wcsstr(o, L"ToFile") ? end(op, S_OK, NULL) : E_INVALIDARG; }
HRESULT WINAPI HcsGetComputeSystemProperties(SYS *s, OP *op, const WCHAR *q)
{
	WCHAR doc[256];
	if (q)
		return E_INVALIDARG;
	swprintf(doc, 256, L"{\"Id\":\"%ls\",\"Owner\":\"porthole\",\"SystemType\":\"VirtualMachine\",\"State\":\"Running\"}", s->id);
	return end(op, S_OK, doc);
}
HRESULT WINAPI HcsModifyComputeSystem(SYS *s, OP *op, const WCHAR *doc, HANDLE identity)
{
	return identity || !wcsstr(doc, L"\"RequestType\":\"Add\"") ? E_INVALIDARG : end(op, S_OK, NULL);
}
HRESULT WINAPI HcsSetComputeSystemCallback(SYS *s, DWORD options, void *context, EVENT_CALLBACK cb)
{
	if (options || s->cb)
		return 0x80370119;
	s->cb = cb;
	s->context = context;
	return S_OK;
}
HRESULT WINAPI HcsEnumerateComputeSystems(const WCHAR *q, OP *op)
{
	return q && wcsstr(q, L"porthole") ? end(op, S_OK, L"[{\"Id\":\"x\",\"Owner\":\"porthole\",\"SystemType\":\"VirtualMachine\"}]") : E_INVALIDARG;
}
HRESULT WINAPI HcsGetServiceProperties(const WCHAR *q, WCHAR **out)
{
	WCHAR doc[128];
	/* for the test to see */
	swprintf(doc, 128, L"{\"Properties\":[{\"SupportedSchemaVersions\":[{\"Major\":2,\"Minor\":%ld}]}]}", allocated);
	*out = dup(doc);
	return S_OK;
}
static HRESULT file(const WCHAR *path) { return GetFileAttributesW(path) == INVALID_FILE_ATTRIBUTES ? 0x80070002 : S_OK; }
HRESULT WINAPI HcsGrantVmAccess(const WCHAR *id, const WCHAR *path) { return id ? file(path) : E_INVALIDARG; }
HRESULT WINAPI HcsRevokeVmAccess(const WCHAR *id, const WCHAR *path) { return id ? file(path) : E_INVALIDARG; }
HRESULT WINAPI HcsGrantVmGroupAccess(const WCHAR *path) { return file(path); }
HRESULT WINAPI HcsCreateEmptyRuntimeStateFile(const WCHAR *path) { return S_OK; }
