package front

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"kohort.dev/kohort/internal/store/chdb"
	"kohort.dev/kohort/internal/store/disk"
)

// failure is a refusal of the front itself, in the terms of ClickHouse: a
// client library turns it into the same typed error as one of the engine.
type failure struct {
	status int
	code   int    // ClickHouse's error code
	name   string // its symbolic name
	text   string
	retry  bool // the client should try again: Retry-After is sent
}

func (f *failure) Error() string {
	return fmt.Sprintf("Code: %d. DB::Exception: %s. (%s)", f.code, f.text, f.name)
}

func refuse(status, code int, name, format string, args ...any) *failure {
	return &failure{status: status, code: code, name: name, text: fmt.Sprintf(format, args...)}
}

func badRequest(format string, args ...any) *failure {
	return refuse(http.StatusBadRequest, 36, "BAD_ARGUMENTS", format, args...)
}

func unsupported(format string, args ...any) *failure {
	return refuse(http.StatusNotImplemented, 48, "NOT_IMPLEMENTED", format, args...)
}

func overload(format string, args ...any) *failure {
	f := refuse(http.StatusServiceUnavailable, 202, "TOO_MANY_SIMULTANEOUS_QUERIES", format, args...)
	f.retry = true
	return f
}

// asFailure gives any error a code and a status.
func asFailure(err error) *failure {
	var own *failure
	if errors.As(err, &own) {
		return own
	}
	var full *disk.Full
	if errors.As(err, &full) {
		f := refuse(http.StatusInsufficientStorage, 243, "NOT_ENOUGH_SPACE", "%s", full.Error())
		f.retry = true
		return f
	}
	if errors.Is(err, context.Canceled) {
		return refuse(499, 394, "QUERY_WAS_CANCELLED", "the client went away")
	}
	return refuse(http.StatusInternalServerError, 1002, "UNKNOWN_EXCEPTION", "%s", err.Error())
}

// describe is what the client gets: ClickHouse's code, an HTTP status, the text.
func describe(err error) (code, status int, text string, retry bool) {
	var ex *chdb.Exception
	if errors.As(err, &ex) {
		status, retry = statusOf(ex)
		code = ex.Code
		if code == 0 {
			code = 1002
		}
		return code, status, ex.Message, retry
	}
	f := asFailure(err)
	return f.code, f.status, f.Error(), f.retry
}

// statusOf maps an exception to an HTTP status the way ClickHouse does
// (exceptionCodeToHTTPStatus.cpp), except for a full disk and for memory,
// which ClickHouse answers with 500 and which are worth a retry.
func statusOf(ex *chdb.Exception) (status int, retry bool) {
	if ex.Code == 243 || strings.Contains(ex.Message, "No space left on device") {
		return http.StatusInsufficientStorage, true
	}
	switch ex.Code {
	case 241, 202, 252: // MEMORY_LIMIT_EXCEEDED, TOO_MANY_SIMULTANEOUS_QUERIES, TOO_MANY_PARTS
		return http.StatusServiceUnavailable, true
	case 46, 47, 50, 56, 60, 63, 73, 79, 81, 82, 115: // UNKNOWN_FUNCTION, …_IDENTIFIER, …_TYPE, …_STORAGE, …_TABLE, …_AGGREGATE_FUNCTION, …_FORMAT, …_DATABASE…, …_SETTING
		return http.StatusNotFound, false
	case 6, 26, 27, 38, 41, 42, 43, 53, 57, 62, 69, 72, 117, 36, 130, 131, 457, 456, 620: // what the client wrote is wrong
		return http.StatusBadRequest, false
	case 159: // TIMEOUT_EXCEEDED
		return http.StatusRequestTimeout, false
	case 164, 497: // READONLY, ACCESS_DENIED
		return http.StatusForbidden, false
	case 48: // NOT_IMPLEMENTED
		return http.StatusNotImplemented, false
	}
	return http.StatusInternalServerError, false
}
