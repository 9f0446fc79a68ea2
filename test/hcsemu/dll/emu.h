/* What the DLLs of the emulator share: the way to the service that does the work. */
#define WIN32_LEAN_AND_MEAN
#include <winsock2.h>
#include <ws2tcpip.h>
#include <windows.h>
#include <objbase.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <wchar.h>

#define E_SERVICE ((HRESULT)0x80370114L) /* HCS_E_SERVICE_NOT_AVAILABLE */

/* A frame of the service: a number, and strings in UTF-8, each ended by a NUL. */
typedef struct {
	unsigned code;
	unsigned n;
	char **strings;
} FRAME;

/* connects to the service, past all hooks; INVALID_SOCKET when it is not there */
SOCKET emu_connect(void);
/* sends a frame whose first string is the secret that the service has told; 0 when it went */
int emu_send(SOCKET s, const char *const *strings, int n);
/* reads a frame, of which emu_free frees the strings; 0 when it came whole */
int emu_recv(SOCKET s, FRAME *f);
void emu_free(FRAME *f);

/* emu_call makes one call of the service: name, then n strings (a NULL one is empty). out
   gets the answer's strings, as many as there is room for, from the allocator of COM
   tasks; NULL for an empty one. */
HRESULT emu_call(const char *name, const WCHAR *const *args, int n, WCHAR **out, int room);

WCHAR *emu_wide(const char *utf8); /* from the allocator of COM tasks; NULL of "" */
char *emu_utf8(const WCHAR *w);	   /* from malloc; "" of NULL */

/* the session of this process, as a string; empty without the service */
const char *emu_session(void);
/* called for each frame that comes over the session, on its own thread; f is NULL when the service has gone */
extern void (*emu_on_frame)(FRAME *f);
