// Package quarantine reads what could not be taken in, and sends it into the stream again.
//
// A row is let in by a message of the stream that names it ([stream.KindRedrive]); ingestion writes down which rows came so,
// and takes each once, however often it is sent. What is refused again is a new row.
package quarantine
