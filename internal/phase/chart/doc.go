// Package chart draws the calls that made a pod: as bars for a terminal, and as one HTML
// page that needs nothing else. It only reads what it is given.
package chart
