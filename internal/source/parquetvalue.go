package source

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/format"
)

func plainGroup(node parquet.Node, value any) any {
	object, ok := value.(map[string]any)
	if !ok {
		return plainValue(node, value)
	}
	for _, field := range node.Fields() {
		if inner, ok := object[field.Name()]; ok {
			object[field.Name()] = plainNode(field, inner)
		}
	}
	return object
}

// plainNode gives a value the types of JSON, by its place in the schema.
func plainNode(node parquet.Node, value any) any {
	if value == nil {
		return nil
	}
	if list, ok := value.([]any); ok {
		element := listElement(node)
		for i := range list {
			list[i] = plainNode(element, list[i])
		}
		return list
	}
	if node.Leaf() {
		return plainValue(node, value)
	}
	if object, ok := value.(map[string]any); ok && isMap(node) {
		kind := node.Fields()[0].Fields()[1]
		for key := range object {
			object[key] = plainNode(kind, object[key])
		}
		return object
	}
	return plainGroup(node, value)
}

func isMap(node parquet.Node) bool {
	_, ok := logicalType(node).(*format.MapType)
	return ok && len(node.Fields()) == 1 && len(node.Fields()[0].Fields()) == 2
}

// listElement is the node of a list's elements: of LIST groups (list.element), and of fields that are repeated.
func listElement(node parquet.Node) parquet.Node {
	if node.Leaf() || node.Repeated() {
		return parquet.Required(node)
	}
	if _, ok := logicalType(node).(*format.ListType); ok && len(node.Fields()) == 1 {
		if middle := node.Fields()[0]; len(middle.Fields()) == 1 {
			return middle.Fields()[0]
		}
	}
	return node
}

func logicalType(node parquet.Node) format.LogicalTypeValue {
	if logical := node.Type().LogicalType(); logical != nil {
		return logical.Value
	}
	return nil
}

func plainValue(node parquet.Node, value any) any {
	logical := logicalType(node)
	switch v := value.(type) {
	case time.Time:
		return plainTime(v)
	case int32:
		return plainInteger(logical, int64(v))
	case int64:
		return plainInteger(logical, v)
	case uint32:
		return json.Number(strconv.FormatUint(uint64(v), 10))
	case uint64:
		return json.Number(strconv.FormatUint(v, 10))
	case float32:
		return plainFloat(logical, float64(v), 32)
	case float64:
		return plainFloat(logical, v, 64)
	case deprecated.Int96: // how Spark and Impala wrote times before Parquet had a type for them
		return plainTime(int96Time(v))
	case uuid.UUID:
		return v.String()
	case [16]byte:
		return uuid.UUID(v).String()
	case []byte:
		return plainBytes(logical, v)
	case string:
		return plainBytes(logical, []byte(v))
	default:
		return value
	}
}

func plainInteger(logical format.LogicalTypeValue, v int64) any {
	switch kind := logical.(type) {
	case *format.DateType:
		return time.Unix(v*24*60*60, 0).UTC().Format(time.DateOnly)
	case *format.TimestampType:
		unit := int64(kind.Unit.Value.Duration())
		perSecond := int64(time.Second) / unit
		return plainTime(time.Unix(v/perSecond, v%perSecond*unit))
	case *format.DecimalType:
		return decimalText(big.NewInt(v), int(kind.Scale))
	case *format.IntType:
		if !kind.IsSigned {
			return json.Number(strconv.FormatUint(uint64(v)<<(64-kind.BitWidth)>>(64-kind.BitWidth), 10))
		}
	}
	return json.Number(strconv.FormatInt(v, 10))
}

// plainFloat writes a decimal in a list, which the library gives as a float, with its scale.
func plainFloat(logical format.LogicalTypeValue, v float64, bits int) any {
	if kind, ok := logical.(*format.DecimalType); ok {
		return strconv.FormatFloat(v, 'f', int(kind.Scale), bits)
	}
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil // how pandas writes a missing number
	}
	if bits == 32 {
		return json.Number(strconv.FormatFloat(v, 'g', -1, 32))
	}
	return v
}

func plainBytes(logical format.LogicalTypeValue, v []byte) any {
	switch kind := logical.(type) {
	case *format.DecimalType:
		return decimalText(twosComplement(v), int(kind.Scale))
	case *format.UUIDType:
		if id, err := uuid.FromBytes(v); err == nil {
			return id.String()
		}
	}
	if utf8.Valid(v) {
		return string(v)
	}
	return base64.StdEncoding.EncodeToString(v)
}

func plainTime(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// int96Time reads nanoseconds of the day and the Julian day; day 2,440,588 is 1 January 1970.
func int96Time(v deprecated.Int96) time.Time {
	nanoseconds := int64(v[0]) | int64(v[1])<<32
	return time.Unix((int64(v[2])-2440588)*24*60*60, nanoseconds)
}

// twosComplement reads a big-endian signed number of any length.
func twosComplement(b []byte) *big.Int {
	n := new(big.Int).SetBytes(b)
	if len(b) > 0 && b[0]&0x80 != 0 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	return n
}

// decimalText writes unscaled / 10^scale without rounding.
func decimalText(unscaled *big.Int, scale int) string {
	digits := new(big.Int).Abs(unscaled).String()
	if scale > 0 {
		if len(digits) <= scale {
			digits = strings.Repeat("0", scale-len(digits)+1) + digits
		}
		digits = digits[:len(digits)-scale] + "." + digits[len(digits)-scale:]
	}
	if unscaled.Sign() < 0 {
		return "-" + digits
	}
	return digits
}

// decimalColumn is a column of decimals outside of lists. The library gives decimals as floats, which round money; their
// digits are taken from the row instead.
type decimalColumn struct {
	path  []string
	index int
	scale int
}

func exactDecimals(schema *parquet.Schema) []decimalColumn {
	var columns []decimalColumn
	for _, path := range schema.Columns() {
		leaf, ok := schema.Lookup(path...)
		if !ok || leaf.MaxRepetitionLevel > 0 {
			continue
		}
		if kind, ok := logicalType(leaf.Node).(*format.DecimalType); ok {
			columns = append(columns, decimalColumn{path: path, index: leaf.ColumnIndex, scale: int(kind.Scale)})
		}
	}
	return columns
}

func (c decimalColumn) restore(object map[string]any, row parquet.Row) {
	for _, name := range c.path[:len(c.path)-1] {
		inner, ok := object[name].(map[string]any)
		if !ok {
			return // the object around it is null
		}
		object = inner
	}
	name := c.path[len(c.path)-1]
	row.Range(func(index int, values []parquet.Value) bool {
		if index != c.index || len(values) != 1 || values[0].IsNull() {
			return index < c.index
		}
		unscaled := new(big.Int)
		switch v := values[0]; v.Kind() {
		case parquet.Int32:
			unscaled.SetInt64(int64(v.Int32()))
		case parquet.Int64:
			unscaled.SetInt64(v.Int64())
		default:
			unscaled = twosComplement(v.ByteArray())
		}
		object[name] = decimalText(unscaled, c.scale)
		return false
	})
}
