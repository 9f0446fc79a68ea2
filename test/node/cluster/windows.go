package cluster

// WindowsNode is the name of the node with a Windows kubelet.
const WindowsNode = "windows1"
