package sync

import (
	"context"
	"errors"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"kohort.dev/kohort/internal/run"
	"kohort.dev/kohort/internal/warehouse"
)

// askPatience is how long a question to the warehouse, with its repetitions, may take. The store is back within seconds
// of a restart; the longest question, the comparison of a span, takes about one.
const askPatience = 2 * time.Minute

// Reasons of failed runs, as in api/v1alpha1/conditions.go.
const (
	reasonRunFailed        = "RunFailed"
	reasonPlatformNotReady = "PlatformNotReady"
	reasonEvaluationFailed = "EvaluationFailed"
	reasonRowsRejected     = "RowsRejected"
	reasonInvalidSpec      = "InvalidSpec"
	reasonSuppression      = "SuppressionNotReady"
)

// ask puts a question to the warehouse until it is answered, fails for good, or askPatience is over.
func ask(ctx context.Context, question func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	return warehouse.Retry(ctx, func() error { return question(ctx) })
}

// isOutOfMemory says whether the warehouse refused a question for the memory that its answer needs.
// https://github.com/ClickHouse/ClickHouse/blob/master/src/Common/ErrorCodes.cpp: MEMORY_LIMIT_EXCEEDED
func isOutOfMemory(err error) bool {
	var exception *clickhouse.Exception
	return errors.As(err, &exception) && exception.Code == 241
}

// explain gives an error that has no reason yet its reason.
func explain(ctx context.Context, err error) error {
	var failure *run.Failure
	switch {
	case err == nil || errors.As(err, &failure):
		return err
	case ctx.Err() != nil:
		return run.Fail(reasonRunFailed, "stopped before the end: %w; what was delivered is recorded, and the next run goes on from there", context.Cause(ctx))
	case warehouse.IsRetryable(err) || errors.Is(err, context.DeadlineExceeded):
		return run.Fail(reasonPlatformNotReady, "the Platform's store did not answer: %w; look at the pods of the Platform", err)
	}
	return err
}
