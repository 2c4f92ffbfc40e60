package collect

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// ClientIP says what is kept of the address that a request came from.
type ClientIP string

// What is kept of it.
const (
	KeepIP ClientIP = "Keep"
	// AnonymizeIP keeps the network: 24 bits of IPv4 and 48 of IPv6, what an Internet provider gives to one customer or
	// more. The rest never leaves the process.
	AnonymizeIP ClientIP = "Anonymize"
	DropIP      ClientIP = "Drop"
)

// ParseClientIP reads one of the three.
func ParseClientIP(text string) (ClientIP, error) {
	switch c := ClientIP(text); c {
	case KeepIP, AnonymizeIP, DropIP:
		return c, nil
	}
	return "", fmt.Errorf("%q must be Keep, Anonymize or Drop", text)
}

// client is what is kept of the address that the request came from; empty for nothing.
func (h *handler) client(r *http.Request) string {
	if h.ClientIP == DropIP {
		return ""
	}
	ip := h.connected(r)
	switch {
	case !ip.IsValid():
		return ""
	case h.ClientIP == AnonymizeIP:
		return network(ip)
	}
	return ip.String()
}

func (h *handler) connected(r *http.Request) netip.Addr {
	if h.TrustedHops > 0 {
		// Each proxy appends the address that it saw; what stands further left was sent by the client itself.
		hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
		if at := len(hops) - h.TrustedHops; at >= 0 {
			if ip := address(strings.TrimSpace(hops[at])); ip.IsValid() {
				return ip
			}
		}
	}
	return address(r.RemoteAddr)
}

// network is the address with the bits of the single host set to zero.
func network(ip netip.Addr) string {
	bits := 24
	if ip.Is6() {
		bits = 48
	}
	prefix, err := ip.Prefix(bits)
	if err != nil { // never, for both have that many bits
		return ""
	}
	return prefix.Addr().String()
}

// address is the IP of text, which may have a port; not valid when it is none.
func address(text string) netip.Addr {
	if host, _, err := net.SplitHostPort(text); err == nil {
		text = host
	}
	ip, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}
	}
	return ip.Unmap().WithZone("")
}
