package main

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/resource"
)

// size is a flag that takes bytes as Kubernetes writes them: 4294967296, 4Gi.
type size uint64

func (s *size) String() string { return fmt.Sprint(uint64(*s)) }

func (s *size) Set(text string) error {
	q, err := resource.ParseQuantity(text)
	if err != nil {
		return fmt.Errorf("%q is not a size such as 4Gi: %w", text, err)
	}
	if q.Sign() < 0 {
		return fmt.Errorf("%q is negative", text)
	}
	*s = size(q.Value())
	return nil
}
