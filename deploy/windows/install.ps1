<#
.SYNOPSIS
Installs, upgrades or removes Porthole on Windows Server 2022 or later.

.DESCRIPTION
Unpack a release and run this script from its folder, in an elevated PowerShell. It turns on what Windows
itself has to bring, tells Defender what not to scan, and leaves the rest to porthole.exe: `porthole setup
install` verifies the release, places it beside earlier versions, makes or repoints the service, and goes back
to the version before when the new one does not serve. Run it again from a newer release to upgrade.

Exit codes: 0 done; 1 failed; 3010 restart the host, then run it again. An installation or upgrade that fails
leaves all as it was before, but for Windows' features; a removal that fails may be run again.

.PARAMETER Uninstall
Ends all pods and removes the service, programs, exclusions, and unless -KeepData is given, configuration, images
and records. Windows' features stay.

.PARAMETER KeepData
With -Uninstall: keeps configuration, images and records.

.PARAMETER InstallFeatures
Installs the features Hyper-V and Containers where they are missing. Without it the script only says so.

.PARAMETER CniConf
A CNI configuration to put where Porthole looks for it, unless one of that name is there, such as one of the release's
folder cni. Leave it out where the network agent of a cluster brings one.

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
[CmdletBinding(DefaultParameterSetName = 'Install', SupportsShouldProcess = $true)]
param(
    [Parameter(ParameterSetName = 'Uninstall', Mandatory = $true)]
    [switch]$Uninstall,

    [Parameter(ParameterSetName = 'Uninstall')]
    [switch]$KeepData,

    [Parameter(ParameterSetName = 'Install')]
    [switch]$InstallFeatures,

    [Parameter(ParameterSetName = 'Install')]
    [string]$CniConf = '',

    [switch]$NoDefender,

    [ValidateNotNullOrEmpty()]
    [string]$InstallDir = (Join-Path $env:ProgramFiles 'porthole'),

    [ValidateNotNullOrEmpty()]
    [string]$DataDir = (Join-Path $env:ProgramData 'porthole')
)

Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

$leastBuild = 20348
$restartNeeded = 3010
$features = @('Hyper-V', 'Containers')

# What calls cmdlets of Windows' modules says -ErrorAction Stop each time: modules do not see this
# script's preference.

# Invoke-Porthole runs a program and throws when it fails: PowerShell 5.1 does not by itself. What the program
# writes to standard error is its log; in a remote session, with the preference at Stop, the
# first line of that would end the script while the program works.
function Invoke-Porthole {
    param([string]$Path, [string[]]$Arguments)
    $ErrorActionPreference = 'Continue'
    $global:LASTEXITCODE = -1 # of a program that does not even start
    & $Path @Arguments
    if ($LASTEXITCODE -ne 0) {
        throw "porthole $($Arguments -join ' ') failed with exit code $LASTEXITCODE"
    }
}

# Resolve-Folder makes a path absolute, by PowerShell's folder, and takes separators off its end: PowerShell
# 5.1 puts a path with blanks between quotes, and a backslash before the last one would hide it.
function Resolve-Folder {
    param([string]$Path)
    $full = $ExecutionContext.SessionState.Path.GetUnresolvedProviderPathFromPSPath($Path)
    if ($full -notmatch '^[A-Za-z]:[\\/]') {
        throw "$Path is no folder of a local drive"
    }
    $full = $full.TrimEnd('\', '/')
    if ($full.Length -lt 3) {
        throw "$Path is a whole drive: name a folder in it"
    }
    return $full
}

# Test-Session throws where this script cannot work whatever the host is like.
function Test-Session {
    if (-not [Environment]::Is64BitProcess) {
        throw 'this is a 32-bit PowerShell, which sees neither the features nor the folders of Windows: start the 64-bit one'
    }
    if (-not $PSScriptRoot -or -not (Test-Path -LiteralPath (Join-Path $PSScriptRoot 'porthole.exe'))) {
        throw 'porthole.exe is not beside this script: unpack the release on this host and run the script from its folder'
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
    $installed = @(Get-WindowsFeature -Name $features -ErrorAction Stop | Where-Object { $_.Installed } | ForEach-Object { $_.Name })
    return @($features | Where-Object { $installed -notcontains $_ })
}

# Test-FeaturePending tells whether one of the features waits for a restart.
function Test-FeaturePending {
    return @(Get-WindowsFeature -Name $features -ErrorAction Stop | Where-Object { "$($_.InstallState)" -eq 'InstallPending' }).Count -gt 0
}

# Install-Feature returns whether the host has to be restarted.
function Install-Feature {
    param([string[]]$Name)
    $result = Install-WindowsFeature -Name $Name -IncludeManagementTools -ErrorAction Stop
    if (-not $result.Success) {
        throw "installing $($Name -join ', ') failed: $($result.ExitCode)"
    }
    return ("$($result.RestartNeeded)" -ne 'No')
}

# Get-Exclusion names those of Porthole's folders that Defender does not scan.
function Get-Exclusion {
    $there = @((Get-MpPreference -ErrorAction Stop).ExclusionPath)
    return @($DataDir, $InstallDir | Where-Object { $there -contains $_ })
}

# Test-Defender tells whether exclusions are this script's affair.
function Test-Defender {
    return -not $NoDefender -and [bool](Get-Command Add-MpPreference -ErrorAction SilentlyContinue)
}

# Add-Exclusion tells Defender not to scan Porthole's folders: a scanner slows disks down, and holds them now
# and then. It returns those that were not excluded before. Where a policy forbids it, the
# installation goes on.
function Add-Exclusion {
    if (-not (Test-Defender)) {
        return
    }
    try {
        $before = @(Get-Exclusion)
        $new = @($DataDir, $InstallDir | Where-Object { $before -notcontains $_ })
        if ($new.Count -gt 0) {
            Add-MpPreference -ExclusionPath $new -ErrorAction Stop
        }
        return $new
    }
    catch {
        Write-Warning "Defender's exclusions were not changed, which a policy may forbid: $_"
    }
}

function Remove-Exclusion {
    param([string[]]$Path)
    if (-not $Path -or -not (Test-Defender)) {
        return
    }
    try {
        Remove-MpPreference -ExclusionPath $Path -ErrorAction Stop
    }
    catch {
        Write-Warning "Defender's exclusions were not changed, which a policy may forbid: $_"
    }
}

function Install-Porthole {
    Test-Build
    $missing = @(Get-MissingFeature)
    if ($missing.Count -gt 0) {
        if (Test-FeaturePending) {
            Write-Warning "$($missing -join ', '): restart this host (Restart-Computer), then run the script again"
            return $restartNeeded
        }
        if (-not $InstallFeatures) {
            throw "missing: $($missing -join ', '). Run .\install.ps1 -InstallFeatures, or Install-WindowsFeature $($missing -join ', ') -IncludeManagementTools -Restart"
        }
        if (Install-Feature -Name $missing) {
            Write-Warning 'restart this host (Restart-Computer), then run the script again'
            return $restartNeeded
        }
    }
    $added = @(Add-Exclusion)
    $done = $false
    try {
        $program = Join-Path $PSScriptRoot 'porthole.exe' # which installs the release that it lies in
        $arguments = @('setup', 'install', '--install-dir', $InstallDir, '--data-dir', $DataDir)
        if ($CniConf) {
            $arguments += @('--cni-conf', $CniConf)
        }
        Invoke-Porthole $program $arguments | Out-Host
        $done = $true
    }
    finally { # after Ctrl-C too
        if (-not $done) {
            Remove-Exclusion $added
        }
    }
    return 0
}

# Uninstall-Porthole runs a copy of the program: one that runs cannot be removed. The copy is made where
# nobody but administrators can write, as they run it.
function Uninstall-Porthole {
    $folder = Join-Path $env:ProgramFiles "porthole-uninstall-$([IO.Path]::GetRandomFileName())"
    New-Item -ItemType Directory -Path $folder | Out-Null
    try {
        $copy = Join-Path $folder 'porthole.exe'
        Copy-Item -LiteralPath (Join-Path $PSScriptRoot 'porthole.exe') -Destination $copy
        $arguments = @('setup', 'uninstall', '--install-dir', $InstallDir, '--data-dir', $DataDir)
        if ($KeepData) {
            $arguments += '--keep-data'
        }
        Invoke-Porthole $copy $arguments | Out-Host
    }
    finally {
        # A scanner may hold the copy for a moment, which is no reason to fail.
        Remove-Item -LiteralPath $folder -Recurse -Force -ErrorAction SilentlyContinue
        if (Test-Path -LiteralPath $folder) {
            Write-Warning "$folder could not be removed: remove it by hand"
        }
    }
    Remove-Exclusion @($DataDir, $InstallDir)
    return 0
}

$code = 0
try {
    Test-Session
    $InstallDir = Resolve-Folder $InstallDir
    $DataDir = Resolve-Folder $DataDir
    if ($CniConf) {
        $CniConf = $ExecutionContext.SessionState.Path.GetUnresolvedProviderPathFromPSPath($CniConf)
    }
    $what, $target = 'install Porthole, or upgrade it', "$InstallDir, $DataDir"
    if ($Uninstall) {
        $what = 'end all pods and remove Porthole'
        if ($KeepData) {
            $target = $InstallDir
        }
    }
    # Asked once, for all of it: no cmdlet below is to ask, or to leave its part out.
    if ($PSCmdlet.ShouldProcess($target, $what)) {
        $ConfirmPreference = 'None'
        if ($Uninstall) {
            $code = Uninstall-Porthole
        }
        else {
            $code = Install-Porthole
        }
    }
}
catch {
    # By the host, so that a remote session shows it as well.
    $Host.UI.WriteErrorLine("porthole: $($_.Exception.Message)")
    exit 1
}
exit $code
