package qemuvm

const kvmDevice = "/dev/kvm"
