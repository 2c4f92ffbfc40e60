// Package warehouse runs the store's database process: it prepares the data
// directory, starts the engine with limits that fit the container, serves
// ClickHouse's HTTP interface and says truthfully whether it can take data.
package warehouse
