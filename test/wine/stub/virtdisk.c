// virtdisk.dll for the Wine lanes: Wine's own has no CreateVirtualDisk, and ends the
// program that calls it. This one makes an empty file, which no VM could use.
#define CreateVirtualDisk imported // as the header declares it
#include <windows.h>
#undef CreateVirtualDisk

DWORD WINAPI CreateVirtualDisk(PVIRTUAL_STORAGE_TYPE type, PCWSTR path, VIRTUAL_DISK_ACCESS_MASK access,
        PSECURITY_DESCRIPTOR descriptor, CREATE_VIRTUAL_DISK_FLAG flags, ULONG provider,
        PCREATE_VIRTUAL_DISK_PARAMETERS parameters, LPOVERLAPPED overlapped, PHANDLE handle) {
    (void)type, (void)access, (void)descriptor, (void)flags, (void)provider, (void)overlapped;
    if (parameters == NULL) return ERROR_INVALID_PARAMETER;
    *handle = CreateFileW(path, GENERIC_WRITE, 0, NULL, CREATE_NEW, FILE_ATTRIBUTE_NORMAL, NULL);
    return *handle == INVALID_HANDLE_VALUE ? GetLastError() : ERROR_SUCCESS;
}
