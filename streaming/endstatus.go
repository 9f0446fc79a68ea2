package streaming

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

// apiStatus is as much of the Kubernetes API's Status as v4.channel.k8s.io and later
// tell of the end of a call.
type apiStatus struct {
	Status  string      `json:"status"`
	Message string      `json:"message,omitempty"`
	Reason  string      `json:"reason,omitempty"`
	Details *apiDetails `json:"details,omitempty"`
	Code    int         `json:"code,omitempty"`
}

type apiDetails struct {
	Causes []apiCause `json:"causes"`
}

type apiCause struct {
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// endStatus says how a call ended in the words that the library has for SPDY clients.
func endStatus(err error) []byte {
	st := apiStatus{Status: "Success"}
	var exit utilexec.ExitError
	switch {
	case err == nil:
	case errors.As(err, &exit) && exit.Exited():
		st = apiStatus{
			Status: "Failure", Reason: remotecommand.NonZeroExitCodeReason,
			Message: fmt.Sprintf("command terminated with non-zero exit code: %v", exit),
			Details: &apiDetails{[]apiCause{{Reason: remotecommand.ExitCodeCauseType, Message: strconv.Itoa(exit.ExitStatus())}}},
		}
	default:
		st = apiStatus{
			Status: "Failure", Reason: "InternalError", Code: http.StatusInternalServerError,
			Message: fmt.Sprintf("Internal error occurred: error executing command in container: %v", err),
		}
	}
	b, err := json.Marshal(st)
	if err != nil {
		panic(err) // strings and numbers alone
	}
	return b
}
