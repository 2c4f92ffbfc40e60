package jetstream

import (
	"fmt"
	"log/slog"
	"strings"
)

// logger hands the server's messages to slog. They hold names of streams and
// addresses of clients, never payloads.
//
// It also listens: after a failed write the server keeps the stream closed to
// writes until it is started again, does not answer its publishers, and says
// so in its log and nowhere else.
type logger struct {
	log    *slog.Logger
	broken chan<- error
}

// breaking are the parts of messages after which only a restart helps
// (setWriteErr in filestore.go and stream.go, handleOutOfSpace in
// jetstream.go and the permission check in stream.go of nats-server 2.15).
var breaking = [...]string{"ritical write error", "will be DISABLED", "disabling JetStream"}

func (l *logger) listen(text string) {
	for _, part := range breaking {
		if strings.Contains(text, part) {
			select {
			case l.broken <- fmt.Errorf("the stream cannot write: %s", text):
			default: // the first one is enough
			}
			return
		}
	}
}

func (l *logger) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }

func (l *logger) Warnf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	l.log.Warn(text)
	l.listen(text)
}

func (l *logger) Errorf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	l.log.Error(text)
	l.listen(text)
}

func (l *logger) Fatalf(format string, v ...any) { l.log.Error(fmt.Sprintf(format, v...)) }
func (l *logger) Debugf(string, ...any)          {}
func (l *logger) Tracef(string, ...any)          {}
