package engine

import (
	_ "embed"
	"fmt"
	"net/http"
	"sync"

	"sigs.k8s.io/yaml"
)

// documentPath is where the API is described, for anybody: it says nothing about a customer.
const documentPath = "/v1/openapi.json"

//go:embed openapi.yaml
var openapiYAML []byte

// document is the OpenAPI 3.1 document as JSON.
var document = sync.OnceValues(func() ([]byte, error) {
	content, err := yaml.YAMLToJSON(openapiYAML)
	if err != nil {
		return nil, fmt.Errorf("reading openapi.yaml: %w", err)
	}
	return content, nil
})

func serveDocument(w http.ResponseWriter, r *http.Request) {
	content, err := document()
	if err != nil {
		refuse(w, http.StatusInternalServerError, "BadAnswer", err.Error())
		return
	}
	respondOnce(w, r, content)
}
