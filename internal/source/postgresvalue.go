package source

import (
	"database/sql/driver"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"kohort.dev/kohort/internal/mapping"
)

// rowRecord gives a row as an object by its columns' names. values are those of the object, in the order of the columns.
func rowRecord(rows pgx.Rows, columns []pgconn.FieldDescription, names []string) (record, []any) {
	values, err := rows.Values()
	if err != nil {
		return record{raw: rawRow(rows, columns), fault: mapping.Unreadable("InvalidRow", "the row cannot be read: %v", err)}, nil
	}
	raws := rows.RawValues()
	for i, column := range columns {
		if column.DataTypeOID == pgtype.JSONOID || column.DataTypeOID == pgtype.JSONBOID {
			values[i] = jsonColumn(raws[i], column.Format)
		} else {
			values[i] = sqlValue(column.DataTypeOID, values[i])
		}
	}
	return rowOf(names, values, func() string { return rawRow(rows, columns) })
}

// rawRow shows a row whose values cannot be understood.
func rawRow(rows pgx.Rows, columns []pgconn.FieldDescription) string {
	var text strings.Builder
	for i, raw := range rows.RawValues() {
		fmt.Fprintf(&text, "%s=%q ", columns[i].Name, raw)
		if text.Len() > maxRecord {
			break
		}
	}
	return strings.TrimSpace(text.String())
}

// jsonColumn keeps numbers as they are written.
func jsonColumn(raw []byte, format int16) any {
	if raw == nil {
		return nil
	}
	if format == pgx.BinaryFormatCode && len(raw) > 0 && raw[0] == 1 {
		raw = raw[1:] // jsonb's version
	}
	decoder := json.NewDecoder(strings.NewReader(string(raw)))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return string(raw)
	}
	return value
}

// sqlValue gives a value the types of JSON. Numbers keep all their digits; times are RFC 3339, those without a zone are
// taken for UTC; what has no counterpart is a text as PostgreSQL writes it.
func sqlValue(oid uint32, value any) any {
	switch v := value.(type) {
	case nil, bool:
		return value
	case string:
		return strings.ToValidUTF8(v, "\uFFFD")
	case int16:
		return json.Number(strconv.FormatInt(int64(v), 10))
	case int32:
		return json.Number(strconv.FormatInt(int64(v), 10))
	case int64:
		return json.Number(strconv.FormatInt(v, 10))
	case uint32:
		return json.Number(strconv.FormatUint(uint64(v), 10))
	case float32:
		return sqlFloat(float64(v), 32)
	case float64:
		return sqlFloat(v, 64)
	case pgtype.Numeric:
		return numeric(v)
	case time.Time:
		if oid == pgtype.DateOID {
			return v.Format(time.DateOnly)
		}
		return plainTime(v)
	case pgtype.InfinityModifier:
		return v.String()
	case [16]byte:
		return uuid.UUID(v).String()
	case []byte:
		if utf8.Valid(v) {
			return string(v)
		}
		return base64.StdEncoding.EncodeToString(v)
	case []any:
		for i := range v {
			v[i] = sqlValue(0, v[i])
		}
		return v
	case map[string]any:
		return v
	case driver.Valuer:
		plain, err := v.Value()
		if err != nil {
			return fmt.Sprint(value)
		}
		if _, again := plain.(driver.Valuer); again {
			return fmt.Sprint(plain)
		}
		return sqlValue(oid, plain)
	case fmt.Stringer:
		return v.String()
	default:
		return fmt.Sprint(value)
	}
}

func sqlFloat(v float64, bits int) any {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return json.Number(strconv.FormatFloat(v, 'g', -1, bits))
}

func numeric(v pgtype.Numeric) any {
	if !v.Valid || v.NaN || v.InfinityModifier != pgtype.Finite {
		return nil
	}
	if v.Exp >= 0 {
		if v.Exp > 1000 { // no money is that large, and so many digits help nobody
			return nil
		}
		return json.Number(new(big.Int).Mul(v.Int, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(v.Exp)), nil)).String())
	}
	return json.Number(decimalText(v.Int, int(-v.Exp)))
}
