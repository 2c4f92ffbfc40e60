package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

// enginePort is where the engine serves profiles.
const enginePort = 8080

// longestAnswer bounds what is read of an answer: a thousand events of 32 KiB.
const longestAnswer = 64 << 20

// profile is what the engine answers; see docs/profiles.md.
type profile struct {
	ID          string              `json:"id"`
	Created     time.Time           `json:"created"`
	Identifiers map[string][]string `json:"identifiers"`
	Traits      map[string]trait    `json:"traits"`
	Audiences   []struct {
		Name  string    `json:"name"`
		Since time.Time `json:"since"`
	} `json:"audiences"`
	Touchpoints []struct {
		Source string    `json:"source"`
		Events int64     `json:"events"`
		First  time.Time `json:"first"`
		Last   time.Time `json:"last"`
	} `json:"touchpoints"`
	Events []event `json:"events"`
}

type trait struct {
	Value    json.RawMessage `json:"value"`
	Source   string          `json:"source"`
	Occurred time.Time       `json:"occurred"`
}

type event struct {
	Name       string          `json:"event"`
	Occurred   time.Time       `json:"occurred"`
	Source     string          `json:"source"`
	Properties json.RawMessage `json:"properties"`
}

func newProfileGet(c *cluster) *cobra.Command {
	v := view{table: showTable}
	var events int
	command := &cobra.Command{
		Use:   "get TYPE:VALUE",
		Short: "Show one customer, found by any identifier",
		Example: `  kohort profile get email:ada@example.com --platform shop -n crm
  kohort profile get userId:42 --platform shop -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			kind, value, ok := strings.Cut(args[0], ":")
			if !ok || kind == "" || value == "" {
				return hint(fmt.Errorf("%q is no identifier", args[0]), "write its type and value, such as userId:42, email:ada@example.com, or id: and a profile's id")
			}
			return v.show(command, c, profilePath(args[0], events))
		},
	}
	v.bind(command)
	command.Flags().IntVar(&events, "events", 10, "how many of the latest events to show")
	return command
}

func profilePath(identifier string, events int) string {
	return "/v1/profiles/" + url.PathEscape(identifier) + "?events=" + strconv.Itoa(events)
}

// endpoint of an engine, for those who have its token.
type endpoint struct{ address, token string }

// reach forwards a port to the engine of a Platform until ctx ends.
func reach(ctx context.Context, c *cluster, platform string) (endpoint, error) {
	conn, err := c.connect()
	if err != nil {
		return endpoint{}, err
	}
	token, err := conn.token(ctx, platform)
	if err != nil {
		return endpoint{}, err
	}
	pod, err := conn.enginePod(ctx, platform)
	if err != nil {
		return endpoint{}, err
	}
	port, err := conn.forward(ctx, pod, enginePort)
	if err != nil {
		return endpoint{}, err
	}
	return endpoint{fmt.Sprintf("http://127.0.0.1:%d", port), token}, nil
}

// patience with an answer; the engine itself gives up earlier.
const patience = 3 * time.Minute

// ask reads the engine's answer to a request; body is JSON or nil.
func (e endpoint) ask(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, e.address+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("asking the engine: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+e.token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("asking the engine: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(response.Body, longestAnswer))
	if err != nil {
		return nil, fmt.Errorf("reading the engine's answer: %w", err)
	}
	if response.StatusCode == http.StatusOK {
		return answer, nil
	}
	var problem struct {
		Error struct{ Code, Message string } `json:"error"`
	}
	if json.Unmarshal(answer, &problem) != nil || problem.Error.Code == "" {
		return nil, fmt.Errorf("the engine answers %s", response.Status)
	}
	err = fmt.Errorf("%s (%s)", problem.Error.Message, problem.Error.Code)
	switch response.StatusCode {
	case http.StatusNotFound:
		return nil, hint(err, "check the type and how the value is written; an event is stored a second or two after it was sent")
	case http.StatusUnauthorized:
		return nil, hint(err, "the token was changed a moment ago; try again in a minute")
	}
	return nil, err
}

func showJSON(out io.Writer, answer []byte) error {
	text, err := json.MarshalIndent(json.RawMessage(answer), "", "  ")
	if err != nil {
		return fmt.Errorf("reading the engine's answer: %w", err)
	}
	_, err = fmt.Fprintln(out, string(text))
	return err
}

func showYAML(out io.Writer, answer []byte) error {
	text, err := yaml.JSONToYAML(answer)
	if err != nil {
		return fmt.Errorf("reading the engine's answer: %w", err)
	}
	_, err = out.Write(text)
	return err
}
