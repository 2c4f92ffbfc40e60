package mapping

import (
	"errors"
	"fmt"
	"strings"

	"github.com/warpstreamlabs/bento/public/bloblang"
)

// Bounds of what a mapping makes of few bytes. A record may say how much, as in "x".repeat(this.n).
const (
	maxRepeated = MaxRecord // bytes
	maxRange    = 100_000   // numbers
)

// bound replaces what would take any memory by the same with a bound.
func bound(environment *bloblang.Environment) (*bloblang.Environment, error) {
	environment = environment.WithoutFunctions("range").WithoutMethods("repeat")
	ranges := bloblang.NewPluginSpec().Param(bloblang.NewInt64Param("start")).Param(bloblang.NewInt64Param("stop")).
		Param(bloblang.NewInt64Param("step").Default(1))
	if err := environment.RegisterFunctionV2("range", ranges, boundedRange); err != nil {
		return nil, fmt.Errorf("making the function range of mappings: %w", err)
	}
	repeats := bloblang.NewPluginSpec().Param(bloblang.NewInt64Param("count"))
	if err := environment.RegisterMethodV2("repeat", repeats, boundedRepeat); err != nil {
		return nil, fmt.Errorf("making the method repeat of mappings: %w", err)
	}
	return environment, nil
}

func boundedRange(params *bloblang.ParsedParams) (bloblang.Function, error) {
	var bounds [3]int64
	for i, name := range []string{"start", "stop", "step"} {
		var err error
		if bounds[i], err = params.GetInt64(name); err != nil {
			return nil, err
		}
	}
	start, stop, step := bounds[0], bounds[1], bounds[2]
	switch {
	case step == 0:
		return nil, errors.New("step must not be 0")
	case step > 0 && start >= stop, step < 0 && start <= stop:
		return nil, fmt.Errorf("from %d there is no way to %d in steps of %d", start, stop, step)
	}
	// As in Bloblang, a last step that is not whole is left out.
	numbers := (float64(stop) - float64(start)) / float64(step)
	if numbers > maxRange {
		return nil, fmt.Errorf("range gives at most %d numbers", maxRange)
	}
	return func() (any, error) {
		out := make([]any, int(numbers))
		for i := range out {
			out[i] = start + step*int64(i)
		}
		return out, nil
	}, nil
}

func boundedRepeat(params *bloblang.ParsedParams) (bloblang.Method, error) {
	count, err := params.GetInt64("count")
	if err != nil {
		return nil, err
	}
	if count < 0 {
		return nil, fmt.Errorf("repeat takes a count that is not negative, and got %d", count)
	}
	return func(value any) (any, error) {
		text, err := bloblang.ValueAsBytes(value)
		if err != nil {
			return nil, err
		}
		if len(text) > 0 && count > int64(maxRepeated/len(text)) {
			return nil, fmt.Errorf("repeat gives at most %d bytes", maxRepeated)
		}
		return strings.Repeat(string(text), int(count)), nil
	}, nil
}
