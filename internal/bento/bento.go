// Package bento knows what of Bento (https://warpstreamlabs.github.io/bento) may be used in Sources and Destinations:
// queues, and what is around them. What reads files of the container, runs programs or calls other servers is not built
// in, and mappings see neither files nor the environment, where credentials are.
package bento

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"regexp"

	"github.com/warpstreamlabs/bento/public/bloblang"
	_ "github.com/warpstreamlabs/bento/public/components/amqp09" // the inputs and outputs that there are
	_ "github.com/warpstreamlabs/bento/public/components/kafka"
	_ "github.com/warpstreamlabs/bento/public/components/mqtt"
	_ "github.com/warpstreamlabs/bento/public/components/nats"
	_ "github.com/warpstreamlabs/bento/public/components/pure"
	_ "github.com/warpstreamlabs/bento/public/components/redis"
	"github.com/warpstreamlabs/bento/public/service"
)

// NewBuilder makes a builder of streams that process one batch after the other.
func NewBuilder(logger *slog.Logger) *service.StreamBuilder {
	environment := service.NewEnvironment()
	environment.UseBloblangEnvironment(bloblang.NewEnvironment().OnlyPure().WithDisabledImports())
	builder := environment.NewStreamBuilder()
	builder.SetThreads(1) // messages keep their order
	builder.SetEnvVarLookupFunc(func(string) (string, bool) { return "", false })
	builder.SetLogger(logger)
	return builder
}

// placeholder of a secret in the texts of a configuration.
var placeholder = regexp.MustCompile(`\$\{([A-Z][A-Z0-9_]*)\}`)

// Filled reads a configuration, which must be an object, and puts secrets into its texts: ${NAME} stands for the secret of
// that name.
func Filled(raw []byte, secret func(name string) (string, error)) (map[string]any, error) {
	var config map[string]any
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	if err := decoder.Decode(&config); err != nil {
		return nil, fmt.Errorf("is not an object: %w", err)
	}
	_, err := filled(config, secret)
	return config, err
}

func filled(value any, secret func(string) (string, error)) (any, error) {
	var failed error
	switch v := value.(type) {
	case map[string]any:
		for key := range v {
			if v[key], failed = filled(v[key], secret); failed != nil {
				return nil, failed
			}
		}
	case []any:
		for i := range v {
			if v[i], failed = filled(v[i], secret); failed != nil {
				return nil, failed
			}
		}
	case string:
		return placeholder.ReplaceAllStringFunc(v, func(name string) string {
			value, err := secret(name[2 : len(name)-1])
			if err != nil {
				failed = err
			}
			return value
		}), failed
	}
	return value, nil
}

// Encode writes a configuration as Bento reads it.
func Encode(config any) (string, error) {
	text, err := json.Marshal(config)
	if err != nil {
		return "", fmt.Errorf("encoding a configuration of Bento: %w", err)
	}
	// Bento would replace ${NAME} by variables of the environment, also within a password.
	return string(bytes.ReplaceAll(text, []byte("${"), []byte(`\u0024{`))), nil
}
