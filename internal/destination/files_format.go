package destination

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"strconv"

	"github.com/parquet-go/parquet-go"
)

// fileFormat is how records are written.
type fileFormat struct {
	suffix, contentType string
	encode              func([]fileRecord) ([]byte, error)
}

// fileFormats by their names in the API.
var fileFormats = map[string]fileFormat{
	"CSV":     {".csv", "text/csv; charset=utf-8", encodeCSV},
	"JSONL":   {".jsonl", "application/jsonl", encodeJSONL},
	"Parquet": {".parquet", "application/vnd.apache.parquet", encodeParquet},
}

// encodeCSV writes RFC 4180, with a head; identifiers and traits are JSON, so that no value of a customer's begins a field:
// a spreadsheet takes one that begins with = for a formula.
func encodeCSV(records []fileRecord) ([]byte, error) {
	var out bytes.Buffer
	w := csv.NewWriter(&out)
	w.UseCRLF = true
	_ = w.Write([]string{"op", "audience", "id", "version", "entry", "identifiers", "traits"}) // Error has it
	for _, r := range records {
		_ = w.Write([]string{string(r.Op), r.Audience, r.ID, strconv.FormatUint(r.Version, 10), strconv.FormatUint(r.Entry, 10), string(r.Identifiers), string(r.Traits)})
	}
	w.Flush()
	return out.Bytes(), w.Error()
}

func encodeJSONL(records []fileRecord) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	for _, r := range records {
		if err := encoder.Encode(r); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

// parquetRecord is a fileRecord with its objects as texts of JSON.
type parquetRecord struct {
	Op          string `parquet:"op,dict"`
	Audience    string `parquet:"audience,dict"`
	ID          string `parquet:"id"`
	Version     uint64 `parquet:"version"`
	Entry       uint64 `parquet:"entry"`
	Identifiers string `parquet:"identifiers,json"`
	Traits      string `parquet:"traits,json"`
}

func encodeParquet(records []fileRecord) ([]byte, error) {
	rows := make([]parquetRecord, len(records))
	for i, r := range records {
		rows[i] = parquetRecord{string(r.Op), r.Audience, r.ID, r.Version, r.Entry, string(r.Identifiers), string(r.Traits)}
	}
	var out bytes.Buffer
	w := parquet.NewGenericWriter[parquetRecord](&out, parquet.Compression(&parquet.Snappy))
	if _, err := w.Write(rows); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
