/* virtdisk.dll of the emulator: CreateVirtualDisk, which makes dynamic VHDX files. */
#pragma GCC diagnostic ignored "-Wattributes" /* its header says that the DLL is another */
#include "emu.h"
#include <virtdisk.h>

DWORD WINAPI CreateVirtualDisk(PVIRTUAL_STORAGE_TYPE type, PCWSTR path, VIRTUAL_DISK_ACCESS_MASK access, PSECURITY_DESCRIPTOR sd,
			       CREATE_VIRTUAL_DISK_FLAG flags, ULONG provider, PCREATE_VIRTUAL_DISK_PARAMETERS p, LPOVERLAPPED o, PHANDLE handle)
{
	WCHAR full[MAX_PATH * 4], size[32], block[32], *out;
	const WCHAR *args[] = {full, size, block};
	const WCHAR *dot = path ? wcsrchr(path, L'.') : NULL;
	DWORD n = path ? GetFullPathNameW(path, MAX_PATH * 4, full, NULL) : 0;
	if (!n || n >= MAX_PATH * 4 || !dot || _wcsicmp(dot, L".vhdx") || !p || p->Version != 2 || p->Version2.ParentPath || p->Version2.SourcePath ||
	    flags || sd || o || p->Version2.SectorSizeInBytes != 512 || !handle)
		return ERROR_INVALID_PARAMETER;
	if (GetFileAttributesW(full) != INVALID_FILE_ATTRIBUTES)
		return ERROR_FILE_EXISTS;
	swprintf(size, 32, L"%llu", p->Version2.MaximumSize);
	swprintf(block, 32, L"%lu", p->Version2.BlockSizeInBytes);
	HRESULT hr = emu_call("CreateVirtualDisk", args, 3, &out, 0);
	if (FAILED(hr))
		return HRESULT_FACILITY(hr) == FACILITY_WIN32 ? (DWORD)HRESULT_CODE(hr) : (DWORD)hr;
	*handle = CreateFileW(full, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL, OPEN_EXISTING, 0, NULL);
	return *handle == INVALID_HANDLE_VALUE ? GetLastError() : 0;
}
