package source

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/deprecated"
)

// everyType has a field for each kind of value that files of Spark, pandas and warehouses have.
type everyType struct {
	Name    string            `parquet:"name"`
	Maybe   *string           `parquet:"maybe,optional"`
	Big     int64             `parquet:"big"`
	Small   int32             `parquet:"small"`
	Count   uint64            `parquet:"count"`
	Price   int64             `parquet:"price,decimal(2:18)"`
	Cents   int32             `parquet:"cents,decimal(2:9)"`
	Ratio   float64           `parquet:"ratio"`
	Half    float32           `parquet:"half"`
	Flag    bool              `parquet:"flag"`
	Milli   time.Time         `parquet:"milli,timestamp(millisecond)"`
	Micro   int64             `parquet:"micro,timestamp(microsecond)"`
	Day     int32             `parquet:"day,date"`
	Old     deprecated.Int96  `parquet:"old"`
	ID      uuid.UUID         `parquet:"id,uuid"`
	Binary  []byte            `parquet:"binary"`
	Tags    []string          `parquet:"tags,list"`
	Numbers []int64           `parquet:"numbers"`
	Address address           `parquet:"address"`
	Extra   map[string]string `parquet:"extra"`
	Visits  []visit           `parquet:"visits"`
}

type address struct {
	City string `parquet:"city"`
	Zip  int32  `parquet:"zip"`
}

type visit struct {
	Day int32 `parquet:"day,date"`
}

func parquetFile(t *testing.T, rows ...everyType) []byte {
	t.Helper()
	var file bytes.Buffer
	w := parquet.NewGenericWriter[everyType](&file, parquet.MaxRowsPerRowGroup(300), parquet.Compression(&parquet.Snappy))
	if _, err := w.Write(rows); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

func collectRecords(records *[]record) taker {
	return func(_ context.Context, r record) error {
		*records = append(*records, r)
		return nil
	}
}

func TestParquetValuesHaveTheTypesOfJSON(t *testing.T) {
	maybe := "there"
	moment := time.Date(2026, 11, 23, 15, 24, 1, 123_000_000, time.UTC)
	julian := uint32(2440588 + moment.Unix()/(24*60*60))
	nanos := uint64((15*3600 + 24*60 + 1) * 1_000_000_000)
	file := parquetFile(t, everyType{
		Name: "Müller", Maybe: &maybe, Big: 9_007_199_254_740_993, Small: -7, Count: 18_446_744_073_709_551_615, Price: -123_456_789_012_345_678, Cents: 123_456_789, Ratio: 0.1, Half: 2.5,
		Flag: true, Milli: moment, Micro: moment.UnixMicro(), Day: 20780, Old: deprecated.Int96{uint32(nanos), uint32(nanos >> 32), julian},
		ID: uuid.MustParse("6ba7b810-9dad-11d1-80b4-00c04fd430c8"), Binary: []byte{0xff, 0xfe}, Tags: []string{"a", "b"}, Numbers: []int64{1, 2},
		Address: address{City: "Köln", Zip: 50667}, Extra: map[string]string{"k": "v"}, Visits: []visit{{Day: 0}},
	}, everyType{Name: "empty", Ratio: math.NaN()})
	var records []record
	if err := readParquet(t.Context(), bytes.NewReader(file), int64(len(file)), collectRecords(&records)); err != nil {
		t.Fatal(err)
	}
	if len(records) != 2 || records[0].fault != nil || records[1].fault != nil {
		t.Fatalf("got %+v", records)
	}
	want := map[string]any{
		"name": "Müller", "maybe": "there", "big": json.Number("9007199254740993"), "small": json.Number("-7"), "count": json.Number("18446744073709551615"),
		"price": "-1234567890123456.78", "cents": "1234567.89", "ratio": 0.1, "half": json.Number("2.5"), "flag": true, "milli": "2026-11-23T15:24:01.123Z", "micro": "2026-11-23T15:24:01.123Z",
		"day": "2026-11-23", "old": "2026-11-23T15:24:01Z", "id": "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "binary": "//4=",
		"tags": []any{"a", "b"}, "numbers": []any{json.Number("1"), json.Number("2")},
		"address": map[string]any{"city": "Köln", "zip": json.Number("50667")}, "extra": map[string]any{"k": "v"}, "visits": []any{map[string]any{"day": "1970-01-01"}},
	}
	if diff := cmp.Diff(want, records[0].value); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, name := range []string{"maybe", "ratio"} {
		if got := records[1].value.(map[string]any)[name]; got != nil {
			t.Errorf("a missing value of %s is %v, want null", name, got)
		}
	}
}

func TestParquetGivesEveryRowOnceInOrder(t *testing.T) {
	rows := make([]everyType, 1000) // over four row groups
	for i := range rows {
		rows[i] = everyType{Big: int64(i)}
	}
	file := parquetFile(t, rows...)
	var records []record
	if err := readParquet(t.Context(), bytes.NewReader(file), int64(len(file)), collectRecords(&records)); err != nil {
		t.Fatal(err)
	}
	if len(records) != len(rows) {
		t.Fatalf("got %d rows, want %d", len(records), len(rows))
	}
	for i, r := range records {
		if r.Number != int64(i+1) || r.value.(map[string]any)["big"] != json.Number(decimal(i)) {
			t.Fatalf("row %d is %d with %v", i+1, r.Number, r.value)
		}
	}
}

func decimal(i int) string {
	text, _ := json.Marshal(i) // an int always encodes
	return string(text)
}

func TestADamagedParquetFileIsAnErrorThatSaysSo(t *testing.T) {
	file := parquetFile(t, make([]everyType, 600)...)
	damaged := bytes.Clone(file)
	for i := 4; i < 400; i++ {
		damaged[i] ^= 0xa5
	}
	cases := map[string][]byte{
		"a CSV file":                  []byte("name,big\na,1\n"),
		"a file that was cut off":     file[:len(file)/2],
		"an empty file":               {},
		"a file with damage in pages": damaged,
	}
	for why, content := range cases {
		var records []record
		err := readParquet(t.Context(), bytes.NewReader(content), int64(len(content)), collectRecords(&records))
		if !isStructure(err) || !strings.HasPrefix(err.Error(), "the file ") {
			t.Errorf("%s: got %v", why, err)
		}
	}
	stop := errors.New("enough")
	err := readParquet(t.Context(), bytes.NewReader(file), int64(len(file)), func(context.Context, record) error { return stop })
	if !errors.Is(err, stop) {
		t.Errorf("the taker's error must end the reading: got %v", err)
	}
}
