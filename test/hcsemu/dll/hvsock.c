/* AF_HYPERV for Wine, which has none: the entries of socket, connect and setsockopt in the
   table of what ws2_32.dll exports are led here, so that who looks them up afterwards gets
   these. Sockets of other families go where they went. A socket of the family is one of
   TCP to the service, which carries the bytes to the guest.

   WriteFile on a socket loses bytes in Wine 8 when the socket's buffer is full, and says that
   it failed: for these sockets it is made WSASend, which does not, by the table of what
   kernelbase.dll imports. NtClose is led here by the same, since the number of a socket that
   was closed is soon that of a pipe. */
#include "emu.h"

#define AF_HYPERV 34
#define HV_PROTOCOL_RAW 1
#define HVSOCKET_CONNECT_TIMEOUT 1

typedef struct {
	unsigned short family, reserved;
	GUID vm, service;
} SOCKADDR_HV;

typedef struct HV {
	struct HV *next;
	SOCKET s;
	unsigned ms;
} HV;
static CRITICAL_SECTION lock;
static HV *open_sockets; /* those that are not connected yet */

typedef LONG NTSTATUS;
typedef NTSTATUS(NTAPI *WRITE_FILE)(HANDLE, HANDLE, void *, void *, void *, const void *, ULONG, LARGE_INTEGER *, ULONG *);
static WRITE_FILE real_write;
static NTSTATUS(NTAPI *real_close)(HANDLE);

/* connected sockets, by number, until they are closed */
#define CONNECTED 4096
static volatile LONG64 connected[CONNECTED];

static volatile LONG64 *slot(ULONG_PTR h) { return &connected[(h >> 2) % CONNECTED]; }

static SOCKET(WSAAPI *real_socket)(int, int, int);
static int(WSAAPI *real_connect)(SOCKET, const struct sockaddr *, int);
static int(WSAAPI *real_setsockopt)(SOCKET, int, int, const char *, int);

static HV *find(SOCKET s, int take)
{
	HV *found = NULL;
	EnterCriticalSection(&lock);
	for (HV **p = &open_sockets; *p; p = &(*p)->next)
		if ((*p)->s == s) {
			found = *p;
			if (take)
				*p = found->next;
			break;
		}
	LeaveCriticalSection(&lock);
	return found;
}

static SOCKET WSAAPI hv_socket(int family, int type, int protocol)
{
	if (family != AF_HYPERV)
		return real_socket(family, type, protocol);
	if (type != SOCK_STREAM || protocol != HV_PROTOCOL_RAW) {
		WSASetLastError(WSAEPROTONOSUPPORT);
		return INVALID_SOCKET;
	}
	if (!*emu_session()) {
		WSASetLastError(WSAENETDOWN);
		return INVALID_SOCKET;
	}
	SOCKET s = emu_connect();
	if (s == INVALID_SOCKET) {
		WSASetLastError(WSAENETDOWN);
		return s;
	}
	HV *h = calloc(1, sizeof *h);
	h->s = s;
	EnterCriticalSection(&lock);
	h->next = open_sockets;
	open_sockets = h;
	LeaveCriticalSection(&lock);
	return s;
}

static int WSAAPI hv_setsockopt(SOCKET s, int level, int option, const char *value, int n)
{
	HV *h = find(s, 0);
	if (!h || level != HV_PROTOCOL_RAW)
		return real_setsockopt(s, level, option, value, n);
	if (option != HVSOCKET_CONNECT_TIMEOUT || n != 4) {
		WSASetLastError(WSAENOPROTOOPT);
		return SOCKET_ERROR;
	}
	memcpy(&h->ms, value, 4);
	return 0;
}

static void guid(const GUID *g, char *b, size_t n)
{
	snprintf(b, n, "%08lx-%04x-%04x-%02x%02x-%02x%02x%02x%02x%02x%02x", g->Data1, g->Data2, g->Data3, g->Data4[0], g->Data4[1],
		 g->Data4[2], g->Data4[3], g->Data4[4], g->Data4[5], g->Data4[6], g->Data4[7]);
}

static int WSAAPI hv_connect(SOCKET s, const struct sockaddr *name, int n)
{
	HV *h = find(s, 1);
	if (!h)
		return real_connect(s, name, n);
	const SOCKADDR_HV *a = (const SOCKADDR_HV *)name;
	char vm[40], service[40], ms[16];
	snprintf(ms, sizeof ms, "%u", h->ms);
	free(h);
	if (n != sizeof *a || a->family != AF_HYPERV) {
		WSASetLastError(WSAEFAULT);
		return SOCKET_ERROR;
	}
	guid(&a->vm, vm, sizeof vm);
	guid(&a->service, service, sizeof service);
	const char *hello[] = {"hvsock", emu_session(), vm, service, ms};
	FRAME f;
	if (emu_send(s, hello, 5) || emu_recv(s, &f)) {
		WSASetLastError(WSAENETDOWN);
		return SOCKET_ERROR;
	}
	int code = (int)f.code; /* one of Winsock */
	emu_free(&f);
	if (code == 0) {
		InterlockedExchange64(slot(s), s);
		return 0;
	}
	WSASetLastError(code);
	return SOCKET_ERROR;
}

#define STATUS_PENDING_ ((NTSTATUS)0x103)
#define STATUS_CONNECTION_RESET_ ((NTSTATUS)0xC000020D)

static NTSTATUS NTAPI hv_write(HANDLE h, HANDLE event, void *apc, void *overlapped, void *io, const void *b, ULONG n, LARGE_INTEGER *offset, ULONG *key)
{
	if (*slot((ULONG_PTR)h) == (LONG64)(ULONG_PTR)h && !apc && overlapped) {
		WSABUF buf = {n, (char *)b};
		if (WSASend((SOCKET)h, &buf, 1, NULL, 0, overlapped, NULL) == 0)
			return 0;
		return WSAGetLastError() == WSA_IO_PENDING ? STATUS_PENDING_ : STATUS_CONNECTION_RESET_;
	}
	return real_write(h, event, apc, overlapped, io, b, n, offset, key);
}

static NTSTATUS NTAPI hv_close(HANDLE h)
{
	/* before it is closed: another that gets the number must not be taken for it */
	InterlockedCompareExchange64(slot((ULONG_PTR)h), 0, (LONG64)(ULONG_PTR)h);
	return real_close(h);
}

/* import leads what a DLL imports from ntdll.dll elsewhere. */
static void import(BYTE *dll, const char *name, void *to, void **was)
{
	IMAGE_NT_HEADERS *nt = (void *)(dll + ((IMAGE_DOS_HEADER *)dll)->e_lfanew);
	IMAGE_IMPORT_DESCRIPTOR *d = (void *)(dll + nt->OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_IMPORT].VirtualAddress);
	for (; d->Name; d++) {
		if (_stricmp((char *)dll + d->Name, "ntdll.dll"))
			continue;
		ULONGLONG *names = (void *)(dll + d->OriginalFirstThunk), *functions = (void *)(dll + d->FirstThunk);
		for (; *names; names++, functions++) {
			DWORD old;
			if (*names >> 63 || strcmp(((IMAGE_IMPORT_BY_NAME *)(dll + *names))->Name, name))
				continue;
			if (!VirtualProtect(functions, sizeof *functions, PAGE_READWRITE, &old))
				return;
			*was = (void *)*functions;
			InterlockedExchange64((LONG64 *)functions, (LONG64)(ULONG_PTR)to);
			VirtualProtect(functions, sizeof *functions, old, &old);
			return;
		}
	}
}

/* redirect leads an export of a DLL elsewhere. Its table holds distances of 32 bits from the
   DLL's beginning, so that a jump is put close after it. */
static void redirect(BYTE *dll, const char *name, void *to, void **was)
{
	IMAGE_NT_HEADERS *nt = (void *)(dll + ((IMAGE_DOS_HEADER *)dll)->e_lfanew);
	IMAGE_EXPORT_DIRECTORY *x = (void *)(dll + nt->OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_EXPORT].VirtualAddress);
	DWORD *names = (void *)(dll + x->AddressOfNames), *functions = (void *)(dll + x->AddressOfFunctions);
	WORD *ordinals = (void *)(dll + x->AddressOfNameOrdinals);
	static BYTE *jumps;
	for (DWORD i = 0; i < x->NumberOfNames; i++) {
		if (strcmp((char *)dll + names[i], name))
			continue;
		BYTE *at = dll + nt->OptionalHeader.SizeOfImage;
		for (int k = 1; !jumps && k < 0x7000; k++)
			jumps = VirtualAlloc((void *)(((ULONG_PTR)at + k * 0x10000ULL) & ~0xffffULL), 4096, MEM_COMMIT | MEM_RESERVE, PAGE_EXECUTE_READWRITE);
		if (!jumps)
			return;
		DWORD *entry = &functions[ordinals[i]], old;
		*was = dll + *entry;
		jumps[0] = 0x48; /* mov rax, to */
		jumps[1] = 0xb8;
		memcpy(jumps + 2, &to, 8);
		jumps[10] = 0xff; /* jmp rax */
		jumps[11] = 0xe0;
		if (!VirtualProtect(entry, sizeof *entry, PAGE_READWRITE, &old))
			return;
		*entry = (DWORD)(jumps - dll);
		VirtualProtect(entry, sizeof *entry, old, &old);
		jumps += 16;
		return;
	}
}

void hook_sockets(void)
{
	InitializeCriticalSection(&lock);
	BYTE *dll = (BYTE *)GetModuleHandleW(L"ws2_32.dll");
	redirect(dll, "socket", hv_socket, (void **)&real_socket);
	redirect(dll, "connect", hv_connect, (void **)&real_connect);
	redirect(dll, "setsockopt", hv_setsockopt, (void **)&real_setsockopt);
	BYTE *base = (BYTE *)GetModuleHandleW(L"kernelbase.dll");
	import(base, "NtClose", hv_close, (void **)&real_close);
	import(base, "NtWriteFile", hv_write, (void **)&real_write);
}
