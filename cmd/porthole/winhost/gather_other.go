//go:build !windows

package winhost

import (
	"context"
	"errors"
	"fmt"
)

func gather(context.Context, Places) (Facts, error) {
	return Facts{}, fmt.Errorf("look at a Windows host: %w", errors.ErrUnsupported)
}
