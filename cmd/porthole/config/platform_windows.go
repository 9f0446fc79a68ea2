package config

var host = onWindows
