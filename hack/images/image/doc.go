// Package image builds container images from files, without a container
// engine, and reads and writes them as archives.
//
// The same files give the same bytes, and so the same digest, on every
// machine: entries are sorted, owned by root and carry no time. Layers are not
// compressed, for the archives go to a container engine on the same machine.
package image
