package engine

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/internal/quarantine"
)

// Records of quarantine are mapped by what their own Source says now.
func TestMappedBy(t *testing.T) {
	source := func(name, mapping string) *v1alpha1.Source {
		return &v1alpha1.Source{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.SourceSpec{Mapping: mapping}}
	}
	mapped := mappedBy([]*v1alpha1.Source{source("web", ""), source("crm", `root = {"type": "page", "messageId": "m", "userId": this.id}`), source("erp", "root = (")})
	for name, want := range map[string]string{
		"crm": `[{"messageId":"m","type":"page","userId":"u1"}]`, "web": "no Source web with a mapping", "gone": "no Source gone", "erp": "spec.mapping does not parse at line 1",
	} {
		for range 2 {
			events, err := mapped(quarantine.Row{Source: name, Record: `{"format":"json"}`, Original: `{"id":"u1"}`})
			if got := string(events); err == nil && got != want || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%s gives %s, %v, want %s", name, got, err, want)
			}
		}
	}
}
