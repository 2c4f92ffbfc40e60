package collect

import (
	"fmt"
	"strings"
)

// event is one of about 1 KB as the browser SDK writes it, so that figures are comparable with those of other collectors.
func event(n uint64) string {
	return fmt.Sprintf(`{"type":"track","event":"Product Viewed","messageId":"ajs-next-%016x-%016x","anonymousId":"%08x-6e1c-4d2b-9a64-4f1b3c7d9e20","userId":"user-%d","timestamp":"2026-11-23T15:24:01.123Z","properties":{"product_id":"sku-%d","category":"Games","name":"Monopoly: 3rd Edition","brand":"Hasbro","variant":"200 pieces","price":18.99,"quantity":1,"coupon":"MAYDEALS","currency":"usd","position":3,"url":"https://shop.example.com/product/path/%d","image_url":"https://shop.example.com/product/path.jpg"},"context":{"ip":"203.0.113.7","locale":"en-US","timezone":"Europe/Berlin","userAgent":"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36","page":{"path":"/academy/","referrer":"https://search.example.com/","search":"?q=board+games","title":"Analytics Academy","url":"https://shop.example.com/academy/"},"library":{"name":"analytics.js","version":"next-1.75.0"},"campaign":{"name":"TPS Innovation Newsletter","source":"Newsletter","medium":"email"}},"integrations":{}}`,
		n, n*31, n%97, n%1000, n%500, n%500)
}

// batchBody is a body of /v1/batch with size events numbered from first.
func batchBody(size int, first uint64) []byte {
	events := make([]string, size)
	for i := range events {
		events[i] = event(first + uint64(i))
	}
	return []byte(`{"batch":[` + strings.Join(events, ",") + `],"writeKey":"test-key","sentAt":"2026-11-23T15:24:02.000Z"}`)
}
