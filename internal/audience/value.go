package audience

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// values of a condition, by type: a text compares with texts, a number with numbers, a boolean with booleans.
type values struct {
	Texts   []string  `json:"t,omitempty"`
	Numbers []float64 `json:"n,omitempty"`
	Bools   []bool    `json:"b,omitempty"`
	// Moment is the one value of operators on dates, in milliseconds since 1970; Age that of those on distances.
	Moment *int64        `json:"m,omitempty"`
	Age    time.Duration `json:"a,omitempty"`
}

// readOne takes a single value apart.
func readOne(field string, raw apiextensionsv1.JSON) (values, error) {
	v, err := readValues(field, []apiextensionsv1.JSON{raw})
	var problem *Invalid
	if errors.As(err, &problem) {
		problem.Field = field
	}
	return v, err
}

// exact is the first integer that a 64-bit floating point number cannot tell from its neighbour.
const exact = 1 << 53

// readValues takes the values of a condition apart. Order and repetition do not matter.
func readValues(field string, raw []apiextensionsv1.JSON) (values, error) {
	var v values
	for i, value := range raw {
		at := field + "[" + strconv.Itoa(i) + "]"
		decoder := json.NewDecoder(bytes.NewReader(value.Raw))
		decoder.UseNumber()
		var scalar any
		if err := decoder.Decode(&scalar); err != nil {
			return values{}, invalid(at, "this is not a value; write a text, a number or a boolean")
		}
		switch scalar := scalar.(type) {
		case string:
			v.Texts = append(v.Texts, scalar)
		case bool:
			v.Bools = append(v.Bools, scalar)
		case json.Number:
			n, err := readNumber(at, scalar)
			if err != nil {
				return values{}, err
			}
			v.Numbers = append(v.Numbers, n)
		case nil:
			return values{}, invalid(at, "null is no value; ask with operator Exists or NotExists")
		default:
			return values{}, invalid(at, "a list or an object is no value; write a text, a number or a boolean, one per item")
		}
	}
	slices.Sort(v.Texts)
	slices.Sort(v.Numbers)
	slices.SortFunc(v.Bools, func(a, b bool) int { return rank(a) - rank(b) })
	v.Texts, v.Numbers, v.Bools = slices.Compact(v.Texts), slices.Compact(v.Numbers), slices.Compact(v.Bools)
	return v, nil
}

func readNumber(at string, number json.Number) (float64, error) {
	n, err := number.Float64()
	if err != nil {
		return 0, invalid(at, "%s does not fit a 64-bit floating point number", number)
	}
	if math.Abs(n) >= exact && !strings.ContainsAny(number.String(), ".eE") {
		return 0, invalid(at, "%s is beyond ±2^53, where numbers can no longer be told apart; send such ids as text and compare with a text", number)
	}
	return n + 0, nil // -0 becomes 0
}

func rank(b bool) int {
	if b {
		return 1
	}
	return 0
}
