package hcs

// The functions of computecore.dll (ComputeCore.h), made into Go by
// golang.org/x/sys/windows/mkwinsyscall; make generate runs it.

//sys hcsCreateOperation(context uintptr, callback uintptr) (op Operation) = computecore.HcsCreateOperation
//sys hcsCloseOperation(op Operation) = computecore.HcsCloseOperation
//sys hcsGetOperationResult(op Operation, result **uint16) (hr HRESULT) = computecore.HcsGetOperationResult
//sys hcsWaitForOperationResult(op Operation, timeout uint32, result **uint16) (hr HRESULT) = computecore.HcsWaitForOperationResult
//sys hcsCreateComputeSystem(id *uint16, configuration *uint16, op Operation, securityDescriptor uintptr, system *SystemHandle) (hr HRESULT) = computecore.HcsCreateComputeSystem
//sys hcsOpenComputeSystem(id *uint16, access uint32, system *SystemHandle) (hr HRESULT) = computecore.HcsOpenComputeSystem
//sys hcsCloseComputeSystem(system SystemHandle) = computecore.HcsCloseComputeSystem
//sys hcsStartComputeSystem(system SystemHandle, op Operation, options *uint16) (hr HRESULT) = computecore.HcsStartComputeSystem
//sys hcsTerminateComputeSystem(system SystemHandle, op Operation, options *uint16) (hr HRESULT) = computecore.HcsTerminateComputeSystem
//sys hcsPauseComputeSystem(system SystemHandle, op Operation, options *uint16) (hr HRESULT) = computecore.HcsPauseComputeSystem
//sys hcsResumeComputeSystem(system SystemHandle, op Operation, options *uint16) (hr HRESULT) = computecore.HcsResumeComputeSystem
//sys hcsSaveComputeSystem(system SystemHandle, op Operation, options *uint16) (hr HRESULT) = computecore.HcsSaveComputeSystem
//sys hcsGetComputeSystemProperties(system SystemHandle, op Operation, query *uint16) (hr HRESULT) = computecore.HcsGetComputeSystemProperties
//sys hcsModifyComputeSystem(system SystemHandle, op Operation, configuration *uint16, identity uintptr) (hr HRESULT) = computecore.HcsModifyComputeSystem
//sys hcsSetComputeSystemCallback(system SystemHandle, options uint32, context uintptr, callback uintptr) (hr HRESULT) = computecore.HcsSetComputeSystemCallback
//sys hcsEnumerateComputeSystems(query *uint16, op Operation) (hr HRESULT) = computecore.HcsEnumerateComputeSystems
//sys hcsGetServiceProperties(query *uint16, result **uint16) (hr HRESULT) = computecore.HcsGetServiceProperties
//sys hcsGrantVmAccess(vmID *uint16, path *uint16) (hr HRESULT) = computecore.HcsGrantVmAccess
//sys hcsRevokeVmAccess(vmID *uint16, path *uint16) (hr HRESULT) = computecore.HcsRevokeVmAccess
//sys hcsGrantVmGroupAccess(path *uint16) (hr HRESULT) = computecore.HcsGrantVmGroupAccess
//sys hcsCreateEmptyRuntimeStateFile(path *uint16) (hr HRESULT) = computecore.HcsCreateEmptyRuntimeStateFile
