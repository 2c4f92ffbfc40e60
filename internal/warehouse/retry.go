package warehouse

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// Codes of ClickHouse exceptions that say nothing about the statement: the same one may succeed a moment later.
// https://github.com/ClickHouse/ClickHouse/blob/master/src/Common/ErrorCodes.cpp
const (
	codeTimeoutExceeded       = 159
	codeTooManyQueries        = 202
	codeSocketTimeout         = 209
	codeNetworkError          = 210
	codeMemoryLimitExceeded   = 241
	codeTableIsReadOnly       = 242
	codeNotEnoughSpace        = 243
	codeTooManyParts          = 252
	codeAllConnectionsFailed  = 279
	codeUnknownStatusOfInsert = 319
	codeQueryWasCancelled     = 394
	codeCannotScheduleTask    = 439
	codeAuthenticationFailed  = 516 // a password that is being rotated is refused for a while
	codeKeeperException       = 999
)

// IsRetryable says whether err is of a kind that passes by itself: the store is away, restarting, overloaded, full or out
// of memory. It is false when the caller's context has ended and for errors of the statement or the data.
func IsRetryable(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) {
		return false
	}
	var exception *clickhouse.Exception
	if errors.As(err, &exception) {
		switch exception.Code {
		case codeTimeoutExceeded, codeTooManyQueries, codeSocketTimeout, codeNetworkError, codeMemoryLimitExceeded,
			codeTableIsReadOnly, codeNotEnoughSpace, codeTooManyParts, codeAllConnectionsFailed,
			codeUnknownStatusOfInsert, codeQueryWasCancelled, codeCannotScheduleTask,
			codeAuthenticationFailed, codeKeeperException:
			return true
		}
		return false
	}
	var answer *clickhouse.HTTPError
	if errors.As(err, &answer) {
		switch answer.StatusCode {
		case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusUnauthorized, http.StatusForbidden:
			return true
		}
		return answer.StatusCode >= http.StatusInternalServerError
	}
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, io.ErrClosedPipe) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, clickhouse.ErrAcquireConnTimeout)
}

const (
	firstDelay = 50 * time.Millisecond
	// longestDelay is short: the embedded store is back within a second.
	longestDelay = 2 * time.Second
)

// Retry calls do until it succeeds, fails with an error that does not pass by itself, or ctx ends, with growing pauses in
// between. It returns do's last error.
func Retry(ctx context.Context, do func() error) error {
	for delay := firstDelay; ; delay = min(2*delay, longestDelay) {
		err := do()
		if err == nil || !IsRetryable(err) || ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(delay/2 + rand.N(delay/2)):
		case <-ctx.Done():
			return err
		}
	}
}
