package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	clientfake "sigs.k8s.io/controller-runtime/pkg/client/fake"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/controllers/sync"
)

func mailerObjects(t *testing.T, change func(*v1alpha1.Destination)) *clientfake.ClientBuilder {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	d := &v1alpha1.Destination{ObjectMeta: metav1.ObjectMeta{Name: "mailer", Namespace: "shop"}, Spec: v1alpha1.DestinationSpec{
		PlatformRef: v1alpha1.LocalReference{Name: "shop"}, Webhook: &v1alpha1.WebhookDestination{URL: "https://mail.test"},
	}}
	if change != nil {
		change(d)
	}
	a := &v1alpha1.Audience{ObjectMeta: metav1.ObjectMeta{Name: "vip", Namespace: "shop"}}
	a.Spec.Destinations = []v1alpha1.AudienceDestination{{Name: "mailer", Identifiers: []string{"email"}, Traits: map[string]string{"tariff": "plan"}}}
	return clientfake.NewClientBuilder().WithScheme(scheme).WithObjects(d, a)
}

func TestDestinationTestAsked(t *testing.T) {
	for _, c := range []struct {
		why, destination, fails string
		test                    destinationTest
		change                  func(*v1alpha1.Destination)
	}{
		{"nobody is given", "mailer", "no customer is given", destinationTest{}, nil},
		{"two customers are given", "mailer", "not both", destinationTest{audience: "vip", identifiers: []string{"email=a@b"}}, nil},
		{"a member would be lost to the Sync", "mailer", "is not taken out", destinationTest{audience: "vip", send: true, remove: true}, nil},
		{"no type", "mailer", "type=value", destinationTest{identifiers: []string{"ada@example.com"}}, nil},
		{"no field", "mailer", "field=value", destinationTest{identifiers: []string{"email=a"}, traits: []string{"pro"}}, nil},
		{"no such destination", "other", "no Destination other", destinationTest{identifiers: []string{"email=a"}}, nil},
		{"no such audience", "mailer", "no Audience other", destinationTest{audience: "other"}, nil},
		{"a Secret is missing", "mailer", "Secret mail is missing", destinationTest{audience: "vip"}, func(d *v1alpha1.Destination) {
			d.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonSecretNotFound, Message: "Secret mail is missing"}}
		}},
	} {
		_, err := c.test.record()
		if err == nil {
			_, err = c.test.job(t.Context(), mailerObjects(t, c.change).Build(), "shop", c.destination)
		}
		if err == nil || !strings.Contains(err.Error(), c.fails) {
			t.Errorf("%s: %v", c.why, err)
		}
	}
	record, err := destinationTest{identifiers: []string{"email=a=b@x", "email=c@x"}, traits: []string{"plan=pro", "age=42", `tags=["a"]`, "none="}}.record()
	if err != nil || len(record.Identifiers["email"]) != 2 || string(record.Traits["plan"]) != `"pro"` || string(record.Traits["age"]) != "42" ||
		string(record.Traits["tags"]) != `["a"]` || string(record.Traits["none"]) != `""` {
		t.Errorf("record %v (%v)", record, err)
	}
	member, err := destinationTest{audience: "vip"}.job(t.Context(), mailerObjects(t, nil).Build(), "shop", "mailer")
	if err != nil || member.HasRecord || member.Sync.Spec.AudienceRef.Name != "vip" || member.Sync.Spec.Traits["tariff"] != "plan" || member.Sync.Spec.Identifiers[0] != "email" {
		t.Errorf("test of a member %+v (%v)", member, err)
	}
}

// A test leaves nothing behind, however it ends; and the customer stands in a Secret of the Job's alone.
func TestDestinationTestJob(t *testing.T) {
	test := destinationTest{identifiers: []string{"email=ada@example.com"}, send: true}
	record, err := test.record()
	if err != nil {
		t.Fatal(err)
	}
	asked, err := test.job(t.Context(), mailerObjects(t, nil).Build(), "shop", "mailer")
	if err != nil {
		t.Fatal(err)
	}
	engine := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "shop-engine", Namespace: "shop", Annotations: map[string]string{sync.ConnectorImageAnnotation: "connector:7"}}}
	client := fake.NewClientset(engine)
	client.PrependReactor("create", "jobs", func(action clienttesting.Action) (bool, runtime.Object, error) {
		job := action.(clienttesting.CreateAction).GetObject().(*batchv1.Job)
		job.UID = "7"
		if image := job.Spec.Template.Spec.Containers[0].Image; image != "connector:7" {
			t.Errorf("image %s", image)
		}
		if text, _ := job.Marshal(); strings.Contains(string(text), "ada@") {
			t.Error("the Job shows the customer")
		}
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "shop", Labels: map[string]string{batchv1.JobNameLabel: job.Name}}, Status: corev1.PodStatus{Phase: corev1.PodSucceeded}}
		return false, nil, client.Tracker().Add(pod)
	})
	conn := connection{client: client, namespace: "shop"}
	_, err = conn.rehearse(t.Context(), asked, record) // a fake cluster has no logs
	if err == nil || !strings.Contains(err.Error(), "fake logs") {
		t.Fatalf("error %v", err)
	}
	secret, err := client.CoreV1().Secrets("shop").Get(t.Context(), asked.Name, metav1.GetOptions{})
	if err != nil || secret.OwnerReferences[0].UID != "7" || !strings.Contains(string(secret.Data["record"]), "ada@example.com") {
		t.Errorf("Secret %v (%v)", secret, err)
	}
	if jobs, err := client.BatchV1().Jobs("shop").List(t.Context(), metav1.ListOptions{}); err != nil || len(jobs.Items) != 0 {
		t.Errorf("%d Jobs are left (%v)", len(jobs.Items), err)
	}
	engine.Annotations = nil
	conn.client = fake.NewClientset(engine)
	var next *hinted
	if _, err := conn.rehearse(t.Context(), asked, record); !errors.As(err, &next) || !strings.Contains(next.next, "--image") {
		t.Errorf("an engine of an older operator: %v", err)
	}
}

func TestDestinationTestShown(t *testing.T) {
	line := `{"level":"INFO","msg":"x"}` + "\n" +
		`{"rehearsal":{"sent":true,"exchanges":[{"to":"POST https://h/…","headers":["Authorization: Bearer …"],"body":"{}","answer":"200 OK\n\u001b[31mhi"}],"outcome":"Delivered"}}` + "\n"
	answer := rehearsalIn([]byte(line))
	for output, want := range map[string]string{
		"table": "POST https://h/…\nAuthorization: Bearer …\n\n{}\n\nanswer: 200 OK\n·[31mhi\n\nDelivered\n",
		"json":  `"outcome": "Delivered"`,
		"yaml":  "outcome: Delivered",
	} {
		var out bytes.Buffer
		if err := showRehearsal(&out, "mailer", answer, output); err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("%s: %q (%v)", output, out.String(), err)
		}
	}
	var out bytes.Buffer
	err := showRehearsal(&out, "mailer", []byte(`{"outcome":"Rejected","reason":"InvalidEmail","message":"no such domain","exchanges":[]}`), "table")
	if err == nil || out.String() != "Rejected: InvalidEmail no such domain\n" {
		t.Errorf("a rejection: %q (%v)", out.String(), err)
	}
}
