<#
.SYNOPSIS
Installs, upgrades or removes Porthole on Windows Server 2022 or later.

.DESCRIPTION
Unpack a release and run this script from its folder, in an elevated PowerShell. It turns on what Windows
itself has to bring, tells Defender what not to scan, and leaves the rest to porthole.exe: `porthole setup
install` verifies the release, places it beside earlier versions, makes or repoints the service, and goes back
to the version before when the new one does not serve. Run it again from a newer release to upgrade.

Exit codes: 0 done; 1 failed, and all is as it was before; 3010 restart the host, then run it again.

.PARAMETER Uninstall
Ends all pods and removes the service, programs, exclusions, and unless -KeepData is given, configuration, images
and records. Windows' features stay.

.PARAMETER KeepData
With -Uninstall: keeps configuration, images and records.

.PARAMETER InstallFeatures
Installs the features Hyper-V and Containers where they are missing. Without it the script only says so.

.PARAMETER NoDefender
Leaves Defender's exclusions alone.

.PARAMETER InstallDir
Where programs go.

.PARAMETER DataDir
Where configuration, images and records go. An NTFS or ReFS volume.

.EXAMPLE
.\install.ps1 -InstallFeatures

.EXAMPLE
.\install.ps1 -Uninstall -KeepData
#>
#Requires -Version 5.1
#Requires -RunAsAdministrator
[CmdletBinding(DefaultParameterSetName = 'Install')]
param(
    [Parameter(ParameterSetName = 'Uninstall', Mandatory = $true)]
    [switch]$Uninstall,

    [Parameter(ParameterSetName = 'Uninstall')]
    [switch]$KeepData,

    [Parameter(ParameterSetName = 'Install')]
    [switch]$InstallFeatures,

    [switch]$NoDefender,

    [string]$InstallDir = (Join-Path $env:ProgramFiles 'porthole'),

    [string]$DataDir = (Join-Path $env:ProgramData 'porthole')
)

Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

$leastBuild = 20348
$restartNeeded = 3010
$features = @('Hyper-V', 'Containers')

# Invoke-Porthole runs a program and throws when it fails: PowerShell 5.1 does not by itself.
function Invoke-Porthole {
    param([string]$Path, [string[]]$Arguments)
    & $Path @Arguments
    if ($LASTEXITCODE -ne 0) {
        throw "porthole $($Arguments -join ' ') failed with exit code $LASTEXITCODE"
    }
}

# Test-Build throws on a Windows that cannot boot a Linux kernel directly.
function Test-Build {
    $build = [Environment]::OSVersion.Version.Build
    if ($build -lt $leastBuild) {
        throw "this is build $build of Windows: $leastBuild (Windows Server 2022) or later is needed"
    }
}

# Get-MissingFeature names what is to be installed. Client editions have other names for it, and no
# Get-WindowsFeature.
function Get-MissingFeature {
    if (-not (Get-Command Get-WindowsFeature -ErrorAction SilentlyContinue)) {
        throw 'this is no Windows Server: turn on Hyper-V and Containers in "Windows features", and run porthole.exe setup install'
    }
    return @(Get-WindowsFeature -Name $features | Where-Object { -not $_.Installed } | ForEach-Object { $_.Name })
}

# Install-Feature returns whether the host has to be restarted.
function Install-Feature {
    param([string[]]$Name)
    $result = Install-WindowsFeature -Name $Name -IncludeManagementTools
    if (-not $result.Success) {
        throw "installing $($Name -join ', ') failed: $($result.ExitCode)"
    }
    return ($result.RestartNeeded -ne 'No')
}

# Set-Exclusion adds or removes Defender's exclusions: a scanner slows disks down, and holds them now and
# then. It does nothing where there is no Defender.
function Set-Exclusion {
    param([switch]$Remove)
    if ($NoDefender -or -not (Get-Command Add-MpPreference -ErrorAction SilentlyContinue)) {
        return
    }
    try {
        if ($Remove) {
            Remove-MpPreference -ExclusionPath $DataDir, $InstallDir
        }
        else {
            Add-MpPreference -ExclusionPath $DataDir, $InstallDir
        }
    }
    catch {
        Write-Warning "Defender's exclusions were not changed, which a policy may forbid: $_"
    }
}

function Install-Porthole {
    Test-Build
    $missing = @(Get-MissingFeature)
    if ($missing.Count -gt 0) {
        if (-not $InstallFeatures) {
            throw "missing: $($missing -join ', '). Run .\install.ps1 -InstallFeatures, or Install-WindowsFeature $($missing -join ', ') -IncludeManagementTools -Restart"
        }
        if (Install-Feature -Name $missing) {
            Write-Warning 'restart this host (Restart-Computer), then run the script again'
            return $restartNeeded
        }
    }
    $fresh = -not (Test-Path -LiteralPath $InstallDir)
    Set-Exclusion
    try {
        $program = Join-Path $PSScriptRoot 'porthole.exe'
        Invoke-Porthole $program @('setup', 'install', '--from', $PSScriptRoot, '--install-dir', $InstallDir, '--data-dir', $DataDir) | Out-Host
    }
    catch {
        if ($fresh) {
            Set-Exclusion -Remove
        }
        throw
    }
    return 0
}

# Uninstall-Porthole runs a copy of the program: one that runs cannot be removed.
function Uninstall-Porthole {
    $copy = Join-Path ([IO.Path]::GetTempPath()) "porthole-uninstall-$PID.exe"
    Copy-Item -LiteralPath (Join-Path $PSScriptRoot 'porthole.exe') -Destination $copy
    try {
        $arguments = @('setup', 'uninstall', '--install-dir', $InstallDir, '--data-dir', $DataDir)
        if ($KeepData) {
            $arguments += '--keep-data'
        }
        Invoke-Porthole $copy $arguments | Out-Host
    }
    finally {
        Remove-Item -LiteralPath $copy -Force
    }
    Set-Exclusion -Remove
    return 0
}

try {
    if ($Uninstall) {
        $code = Uninstall-Porthole
    }
    else {
        $code = Install-Porthole
    }
}
catch {
    [Console]::Error.WriteLine("porthole: $($_.Exception.Message)")
    exit 1
}
exit $code
