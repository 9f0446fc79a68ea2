/* computenetwork.dll of the emulator: HCN's networks, endpoints and namespaces, as far as CNI
   plugins and Porthole use them. A handle is the object's kind and id; the service keeps
   none. What goes wrong is told by the code, and by a document beside it. */
#include "emu.h"

typedef struct {
	const WCHAR *kind;
	WCHAR id[40];
} OBJECT;

static const WCHAR *text(const GUID *g, WCHAR *b)
{
	static const GUID none;
	if (!g || !memcmp(g, &none, sizeof none))
		return L"";
	swprintf(b, 40, L"%08lx-%04x-%04x-%02x%02x-%02x%02x%02x%02x%02x%02x", g->Data1, g->Data2, g->Data3, g->Data4[0], g->Data4[1],
		 g->Data4[2], g->Data4[3], g->Data4[4], g->Data4[5], g->Data4[6], g->Data4[7]);
	return b;
}

/* one call: out is the answer, if any, and result what the service says of an error */
static HRESULT hcn(const char *name, const WCHAR *a, const WCHAR *b, const WCHAR *c, WCHAR **out, WCHAR **result)
{
	const WCHAR *args[] = {a, b, c};
	WCHAR *got[2];
	HRESULT hr = emu_call(name, args, 3, got, 2);
	if (out)
		*out = got[0];
	else
		CoTaskMemFree(got[0]);
	if (result)
		*result = got[1];
	else
		CoTaskMemFree(got[1]);
	return hr;
}

static HRESULT object(const WCHAR *kind, HRESULT hr, WCHAR *id, OBJECT **out)
{
	if (SUCCEEDED(hr) && id) {
		*out = calloc(1, sizeof **out);
		(*out)->kind = kind;
		wcsncpy((*out)->id, id, 39);
	}
	CoTaskMemFree(id);
	return hr;
}

#define KIND(Kind)                                                                                                             \
	static const WCHAR kind##Kind[] = L"" #Kind;                                                                           \
	HRESULT WINAPI HcnOpen##Kind(const GUID *g, OBJECT **o, WCHAR **result)                                                \
	{                                                                                                                      \
		WCHAR b[40], *id;                                                                                              \
		HRESULT hr = hcn("HcnOpen", kind##Kind, text(g, b), L"", &id, result);                                         \
		return object(kind##Kind, hr, id, o);                                                                          \
	}                                                                                                                      \
	HRESULT WINAPI HcnDelete##Kind(const GUID *g, WCHAR **result)                                                          \
	{                                                                                                                      \
		WCHAR b[40];                                                                                                   \
		return hcn("HcnDelete", kind##Kind, text(g, b), L"", NULL, result);                                            \
	}                                                                                                                      \
	HRESULT WINAPI HcnModify##Kind(OBJECT *o, const WCHAR *settings, WCHAR **result)                                       \
	{                                                                                                                      \
		return hcn("HcnModify", o->kind, o->id, settings, NULL, result);                                               \
	}                                                                                                                      \
	HRESULT WINAPI HcnQuery##Kind##Properties(OBJECT *o, const WCHAR *query, WCHAR **properties, WCHAR **result)           \
	{                                                                                                                      \
		return hcn("HcnQuery", o->kind, o->id, query, properties, result);                                             \
	}                                                                                                                      \
	HRESULT WINAPI HcnEnumerate##Kind##s(const WCHAR *query, WCHAR **list, WCHAR **result)                                 \
	{                                                                                                                      \
		return hcn("HcnEnumerate", kind##Kind, query, L"", list, result);                                              \
	}                                                                                                                      \
	HRESULT WINAPI HcnClose##Kind(OBJECT *o)                                                                               \
	{                                                                                                                      \
		free(o);                                                                                                       \
		return S_OK;                                                                                                   \
	}
KIND(Network)
KIND(Endpoint)
KIND(Namespace)

HRESULT WINAPI HcnCreateNetwork(const GUID *g, const WCHAR *settings, OBJECT **o, WCHAR **result)
{
	WCHAR b[40], *id;
	HRESULT hr = hcn("HcnCreate", kindNetwork, text(g, b), settings, &id, result);
	return object(kindNetwork, hr, id, o);
}

HRESULT WINAPI HcnCreateNamespace(const GUID *g, const WCHAR *settings, OBJECT **o, WCHAR **result)
{
	WCHAR b[40], *id;
	HRESULT hr = hcn("HcnCreate", kindNamespace, text(g, b), settings, &id, result);
	return object(kindNamespace, hr, id, o);
}

HRESULT WINAPI HcnCreateEndpoint(OBJECT *network, const GUID *g, const WCHAR *settings, OBJECT **o, WCHAR **result)
{
	WCHAR *id;
	HRESULT hr = hcn("HcnCreate", kindEndpoint, network->id, settings, &id, result);
	return object(kindEndpoint, hr, id, o);
}
