/* vmcompute.dll of the emulator: the older interface of HNS, of which its version and the
   endpoints' counters are asked for. */
#include "emu.h"

HRESULT WINAPI HNSCall(const WCHAR *method, const WCHAR *path, const WCHAR *request, WCHAR **response)
{
	const WCHAR *args[] = {method, path, request};
	return emu_call("HNSCall", args, 3, response, 1);
}
