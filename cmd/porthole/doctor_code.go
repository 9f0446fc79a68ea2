package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/porthole-run/porthole/cmd/porthole/winhost"
)

// maxCodes is how many codes one call explains.
const maxCodes = 32

// splitCodes takes the codes out of the arguments that begin with a minus, which would be
// taken for flags: PowerShell prints HRESULTs as signed numbers.
func splitCodes(args []string) (rest, codes []string) {
	for _, a := range args {
		if winhost.IsCode(a) {
			codes = append(codes, a)
		} else {
			rest = append(rest, a)
		}
	}
	return rest, codes
}

// explainCodes prints what codes of Windows' services mean; any machine can.
func explainCodes(w io.Writer, codes []string, asJSON bool) error {
	var all []winhost.Explanation
	for _, text := range codes {
		code, err := winhost.ParseCode(text)
		if err != nil {
			return usagef("porthole doctor: %v", err)
		}
		all = append(all, winhost.Explain(code))
	}
	if asJSON {
		return json.NewEncoder(w).Encode(all)
	}
	for _, e := range all {
		if _, err := fmt.Fprint(w, e); err != nil {
			return err
		}
	}
	return nil
}
