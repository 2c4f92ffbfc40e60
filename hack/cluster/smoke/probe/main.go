// Command probe is what the smoke test runs in pods: a server that keeps a
// file in a volume, and a client that tries the cluster's network.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) < 2 {
		fail(fmt.Errorf("usage: probe serve FILE | probe try NODE-URL | probe say TEXT"))
	}
	switch os.Args[1] {
	case "serve":
		fail(serve(os.Args[2]))
	case "try":
		if err := try(os.Args[2]); err != nil {
			fail(err)
		}
	case "say":
		fmt.Println(os.Args[2])
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "probe:", err)
	os.Exit(1)
}

// serve appends a line to a file and answers with what is in it and to whom it
// belongs.
func serve(file string) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o640)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(f, "started"); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	fmt.Println("probe serves")
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		data, err := os.ReadFile(file)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		info, err := os.Stat(file)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		group := info.Sys().(*syscall.Stat_t).Gid
		fmt.Fprintf(w, "group %d\n%s", group, data)
	})
	return http.ListenAndServe(":8080", nil)
}

// try reaches the server by its Service's name, the API server by its own and
// the node by its address, and reports in the termination message.
func try(node string) error {
	report := map[string]string{}
	client := http.Client{Timeout: 5 * time.Second}
	for name, url := range map[string]string{"service": "http://probe.smoke.svc.cluster.local", "node": node} {
		response, err := client.Get(url)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(response.Body)
		if err != nil {
			return err
		}
		if err := response.Body.Close(); err != nil {
			return err
		}
		report[name] = string(body)
	}
	connection, err := net.DialTimeout("tcp", "kubernetes.default.svc.cluster.local:443", 5*time.Second)
	if err != nil {
		return err
	}
	report["api"] = connection.RemoteAddr().String()
	if err := connection.Close(); err != nil {
		return err
	}
	message, err := json.Marshal(report)
	if err != nil {
		return err
	}
	return os.WriteFile("/dev/termination-log", message, 0o600)
}
