package destination

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"kohort.dev/kohort/internal/run"
)

// maxSecret is more than any token or connection string has; a larger file is not one.
const maxSecret = 16 << 10

// readSecret reads the file of a Secret's key, without the line break that editors leave at its end. field is the field
// of a Destination that names the key. It is read again for every connection, so that a rotated Secret takes effect.
func readSecret(path, field string) (string, error) {
	text, err := readBounded(path)
	if err != nil {
		return "", run.Refuse(ReasonSecretNotFound,
			"reading the Secret key that %s names: %v; create the Secret with that key", field, pathless(err))
	}
	text = strings.TrimSpace(text)
	switch {
	case text == "":
		return "", run.Refuse(ReasonSecretNotFound, "the Secret key that %s names is empty; put the value in", field)
	case strings.ContainsAny(text, "\r\n\x00"):
		return "", run.Refuse(ReasonSecretNotFound,
			"the Secret key that %s names has more than one line; it must hold the value alone", field)
	}
	return text, nil
}

func readBounded(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close() // opened for reading
	data, err := io.ReadAll(io.LimitReader(file, maxSecret+1))
	if err != nil {
		return "", err
	}
	if len(data) > maxSecret {
		return "", fmt.Errorf("it has more than %d bytes", maxSecret)
	}
	return string(data), nil
}

// pathless leaves out the path of a file in the container, which says nothing to the reader of a status.
func pathless(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
