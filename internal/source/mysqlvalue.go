package source

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// mysqlValue gives a value the types of JSON. Numbers keep all their digits; times are RFC 3339, those without a zone are
// taken for UTC; dates that are none (0000-00-00) are null; what has no counterpart is a text as the server writes it.
// kind is the column's type in the server's words.
func mysqlValue(kind string, value any) any {
	switch v := value.(type) {
	case int64:
		return json.Number(strconv.FormatInt(v, 10))
	case uint64:
		return json.Number(strconv.FormatUint(v, 10))
	case float32:
		return sqlFloat(float64(v), 32)
	case float64:
		return sqlFloat(v, 64)
	case time.Time:
		switch {
		case v.IsZero():
			return nil
		case kind == "DATE":
			return v.Format(time.DateOnly)
		}
		return plainTime(v)
	case []byte:
		return mysqlBytes(kind, v)
	}
	return value
}

func mysqlBytes(kind string, value []byte) any {
	switch {
	case kind == "DECIMAL", strings.HasPrefix(kind, "UNSIGNED"): // beyond 63 bits the driver gives digits
		return json.Number(value)
	case kind == "BIT":
		var number uint64
		for _, b := range value { // at most eight bytes, the highest first
			number = number<<8 | uint64(b)
		}
		return json.Number(strconv.FormatUint(number, 10))
	case kind == "JSON":
		return jsonColumn(value, 0)
	case utf8.Valid(value):
		return string(value)
	case strings.Contains(kind, "BLOB") || strings.Contains(kind, "BINARY") || kind == "GEOMETRY":
		return base64.StdEncoding.EncodeToString(value)
	}
	return strings.ToValidUTF8(string(value), "\uFFFD")
}
