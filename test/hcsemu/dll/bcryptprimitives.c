// bcryptprimitives.dll for Wine 8, which has none. Go loads it when a program starts and
// takes random bytes from it (ProcessPrng). Since every Go program loads it, it also mends
// one answer of this Wine that keeps Go from removing files: see setInformationFile.
//
// It is for the Wine lanes alone. What it does is what Windows does, so that the programs
// under test are those that are shipped.
#include <windows.h>
#include <string.h>

BOOLEAN NTAPI SystemFunction036(PVOID buffer, ULONG length); // RtlGenRandom, of advapi32.dll

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T length) {
    while (length > 0) {
        ULONG part = length > 1 << 20 ? 1 << 20 : (ULONG)length;
        if (!SystemFunction036(data, part)) return FALSE;
        data += part;
        length -= part;
    }
    return TRUE;
}

#define NOT_IMPLEMENTED ((LONG)0xc0000002)
#define INVALID_INFO_CLASS ((LONG)0xc0000003)

typedef LONG(NTAPI *SetInformationFile)(HANDLE, PVOID, PVOID, ULONG, int);

static SetInformationFile original;

// setInformationFile is NtSetInformationFile with the answer that Windows has for a class
// of information that it does not know. Go (since 1.25) removes and renames files by
// classes that are younger than this Wine, and falls back on older ones when it is told
// so, but not when it gets this Wine's own answer.
static LONG NTAPI setInformationFile(HANDLE file, PVOID status, PVOID info, ULONG length, int class) {
    LONG answer = original(file, status, info, length, class);
    return answer == NOT_IMPLEMENTED ? INVALID_INFO_CLASS : answer;
}

// jump writes "jmp [rip]; address", which leaves all registers as they are.
#define JUMP 14
static void jump(unsigned char *at, const void *to) {
    static const unsigned char jmp[] = {0xff, 0x25, 0, 0, 0, 0};
    memcpy(at, jmp, sizeof jmp);
    memcpy(at + sizeof jmp, &to, sizeof to);
}

// What functions of ntdll.dll that are system calls begin with: mov r10, rcx; mov eax,
// number; test byte [0x7ffe0308], 1. It can run from anywhere.
#define HEAD 16
static int isCall(const unsigned char *f) {
    static const unsigned char test[] = {0xf6, 0x04, 0x25, 0x08, 0x03, 0xfe, 0x7f, 0x01};
    return f[0] == 0x4c && f[1] == 0x8b && f[2] == 0xd1 && f[3] == 0xb8 && !memcmp(f + 8, test, sizeof test);
}

static BOOL mend(void) {
    unsigned char *f = (unsigned char *)GetProcAddress(GetModuleHandleA("ntdll.dll"), "NtSetInformationFile");
    if (f == NULL || !isCall(f)) return FALSE;
    unsigned char *rest = VirtualAlloc(NULL, HEAD + JUMP, MEM_COMMIT | MEM_RESERVE, PAGE_EXECUTE_READWRITE);
    DWORD was;
    if (rest == NULL || !VirtualProtect(f, HEAD, PAGE_EXECUTE_READWRITE, &was)) return FALSE;
    memcpy(rest, f, HEAD);
    jump(rest + HEAD, f + HEAD);
    memcpy(&original, &rest, sizeof original);
    jump(f, (void *)(ULONG_PTR)setInformationFile);
    return VirtualProtect(f, HEAD, was, &was);
}

BOOL WINAPI DllMain(HINSTANCE self, DWORD reason, LPVOID reserved) {
    (void)reserved;
    if (reason != DLL_PROCESS_ATTACH) return TRUE;
    DisableThreadLibraryCalls(self);
    return mend();
}
