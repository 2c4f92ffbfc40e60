// Package adtest has servers that implement the published contracts of ad platforms, with what they refuse, for tests: the
// platforms themselves cannot be had in one.
package adtest
