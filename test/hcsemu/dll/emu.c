/* The way to the service: loopback TCP, one connection a call, and one for the session of
   this process, whose end tells the service that the process has ended. Where it listens
   is in the file hcsemu.service beside the DLL: port and secret. */
#include "emu.h"

static INIT_ONCE once = INIT_ONCE_STATIC_INIT;
static unsigned short port;
static char secret[65];
static char session[32];
void (*emu_on_frame)(FRAME *f);

static HMODULE self(void)
{
	HMODULE m = NULL;
	GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT, (LPCWSTR)&self, &m);
	return m;
}

static int find(void)
{
	WCHAR path[MAX_PATH];
	DWORD n = GetModuleFileNameW(self(), path, MAX_PATH);
	WCHAR *slash = n && n < MAX_PATH ? wcsrchr(path, L'\\') : NULL;
	if (!slash || slash - path > MAX_PATH - 20)
		return -1;
	wcscpy(slash + 1, L"hcsemu.service");
	HANDLE f = CreateFileW(path, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL, OPEN_EXISTING, 0, NULL);
	if (f == INVALID_HANDLE_VALUE)
		return -1;
	char text[128] = {0};
	ReadFile(f, text, sizeof text - 1, &n, NULL);
	CloseHandle(f);
	return sscanf(text, "%hu %64s", &port, secret) == 2 ? 0 : -1;
}

static DWORD WINAPI listen_session(void *p)
{
	SOCKET s = (SOCKET)(ULONG_PTR)p;
	FRAME f;
	while (emu_recv(s, &f) == 0) {
		if (emu_on_frame)
			emu_on_frame(&f);
		emu_free(&f);
	}
	if (emu_on_frame)
		emu_on_frame(NULL);
	closesocket(s);
	return 0;
}

static BOOL CALLBACK begin(PINIT_ONCE o, void *p, void **c)
{
	WSADATA d;
	WSAStartup(MAKEWORD(2, 2), &d);
	if (find())
		return TRUE;
	SOCKET s = emu_connect();
	if (s == INVALID_SOCKET)
		return TRUE;
	char pid[16];
	snprintf(pid, sizeof pid, "%lu", GetCurrentProcessId());
	const char *hello[] = {"session", pid};
	FRAME f;
	if (emu_send(s, hello, 2) || emu_recv(s, &f)) {
		closesocket(s);
		return TRUE;
	}
	if (f.code == 0 && f.n == 1)
		snprintf(session, sizeof session, "%s", f.strings[0]);
	emu_free(&f);
	CloseHandle(CreateThread(NULL, 0, listen_session, (void *)(ULONG_PTR)s, 0, NULL));
	return TRUE;
}

const char *emu_session(void)
{
	InitOnceExecuteOnce(&once, begin, NULL, NULL);
	return session;
}

SOCKET emu_connect(void)
{
	if (!port)
		return INVALID_SOCKET;
	SOCKET s = WSASocketW(AF_INET, SOCK_STREAM, IPPROTO_TCP, NULL, 0, WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
	if (s == INVALID_SOCKET)
		return s;
	struct sockaddr_in a = {AF_INET, htons(port), {{{127, 0, 0, 1}}}};
	int on = 1;
	if (WSAConnect(s, (struct sockaddr *)&a, sizeof a, NULL, NULL, NULL, NULL)) {
		closesocket(s);
		return INVALID_SOCKET;
	}
	setsockopt(s, IPPROTO_TCP, TCP_NODELAY, (char *)&on, sizeof on);
	return s;
}

static int put(SOCKET s, const char *p, int n)
{
	while (n > 0) {
		int k = send(s, p, n, 0);
		if (k <= 0)
			return -1;
		p += k;
		n -= k;
	}
	return 0;
}

static int get(SOCKET s, char *p, int n)
{
	while (n > 0) {
		int k = recv(s, p, n, 0);
		if (k <= 0)
			return -1;
		p += k;
		n -= k;
	}
	return 0;
}

static char *number(char *p, unsigned v)
{
	v = htonl(v);
	memcpy(p, &v, 4);
	return p + 4;
}

int emu_send(SOCKET s, const char *const *strings, int n)
{
	size_t size = 8 + 4 + strlen(secret);
	for (int i = 0; i < n; i++)
		size += 4 + strlen(strings[i]);
	char *b = malloc(size), *p = number(number(b, 0), n + 1);
	for (int i = -1; i < n; i++) {
		const char *t = i < 0 ? secret : strings[i];
		size_t k = strlen(t);
		p = number(p, k);
		memcpy(p, t, k);
		p += k;
	}
	int r = put(s, b, (int)size);
	free(b);
	return r;
}

int emu_recv(SOCKET s, FRAME *f)
{
	unsigned head[2], k;
	f->n = 0;
	f->strings = NULL;
	if (get(s, (char *)head, 8) || ntohl(head[1]) > 8)
		return -1;
	f->code = ntohl(head[0]);
	f->strings = calloc(8, sizeof *f->strings);
	for (unsigned i = 0; i < ntohl(head[1]); i++) {
		if (get(s, (char *)&k, 4) || (k = ntohl(k)) > 1 << 24 || !(f->strings[i] = calloc(1, k + 1)))
			goto broken;
		f->n++;
		if (get(s, f->strings[i], k))
			goto broken;
	}
	return 0;
broken:
	emu_free(f);
	return -1;
}

void emu_free(FRAME *f)
{
	for (unsigned i = 0; i < f->n; i++)
		free(f->strings[i]);
	free(f->strings);
	f->n = 0;
	f->strings = NULL;
}

WCHAR *emu_wide(const char *utf8)
{
	if (!*utf8)
		return NULL;
	int n = MultiByteToWideChar(CP_UTF8, 0, utf8, -1, NULL, 0);
	WCHAR *w = CoTaskMemAlloc(n * sizeof *w);
	MultiByteToWideChar(CP_UTF8, 0, utf8, -1, w, n);
	return w;
}

char *emu_utf8(const WCHAR *w)
{
	if (!w)
		return calloc(1, 1);
	int n = WideCharToMultiByte(CP_UTF8, 0, w, -1, NULL, 0, NULL, NULL);
	char *s = malloc(n);
	WideCharToMultiByte(CP_UTF8, 0, w, -1, s, n, NULL, NULL);
	return s;
}

HRESULT emu_call(const char *name, const WCHAR *const *args, int n, WCHAR **out, int room)
{
	const char *strings[8] = {name, emu_session()};
	HRESULT hr = E_SERVICE;
	FRAME f;
	for (int i = 0; i < room; i++)
		out[i] = NULL;
	if (!*strings[1])
		return hr;
	for (int i = 0; i < n; i++)
		strings[2 + i] = emu_utf8(args[i]);
	SOCKET s = emu_connect();
	if (s != INVALID_SOCKET && emu_send(s, strings, 2 + n) == 0 && emu_recv(s, &f) == 0) {
		hr = (HRESULT)f.code;
		for (unsigned i = 0; i < f.n && (int)i < room; i++)
			out[i] = emu_wide(f.strings[i]);
		emu_free(&f);
	}
	if (s != INVALID_SOCKET)
		closesocket(s);
	for (int i = 0; i < n; i++)
		free((char *)strings[2 + i]);
	return hr;
}
