package destination

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/jwt"

	"kohort.dev/kohort/internal/destination/hashing"
	"kohort.dev/kohort/internal/run"
)

// The limits of the Data Manager API:
// https://developers.google.com/data-manager/api/reference/rest/v1/audienceMembers/ingest
const (
	maxGoogleMembers     = 10_000
	maxGoogleIdentifiers = 10 // of a member
)

const (
	googleCredentials = "spec.googleCustomerMatch.credentialsSecretRef"
	googleScope       = "https://www.googleapis.com/auth/datamanager"
)

// The parts of an address, which Google takes only together.
const (
	givenName  = "givenName"
	familyName = "familyName"
	regionCode = "regionCode"
	postalCode = "postalCode"
)

var googleMatching = matching{
	types:  []matchType{{"emailAddress", []string{"email"}}, {"phoneNumber", []string{"phone"}}},
	traits: []string{givenName, familyName, regionCode, postalCode},
	rules:  hashing.Google(),
}

// accountTypes are the API's words for what a Destination calls them.
var accountTypes = map[string]string{
	"GoogleAds": "GOOGLE_ADS", "DisplayVideoPartner": "DISPLAY_VIDEO_PARTNER", "DisplayVideoAdvertiser": "DISPLAY_VIDEO_ADVERTISER",
}

// GoogleConfig tells which audience a Google fills.
type GoogleConfig struct {
	run.Google
	KeyFile string // the file of the service account's key
	Fields  []string
}

// Google puts members into an audience for Customer Match and takes them out. docs/destinations/google.md describes what
// is sent.
type Google struct {
	endpoint
	config GoogleConfig
	tokens oauth2.TokenSource // nil until the first request
}

// NewGoogle makes a Google. It fails when the URL, the type of an account or a field cannot be used.
func NewGoogle(config GoogleConfig) (*Google, error) {
	to, err := newEndpoint(config.URL, "spec.googleCustomerMatch.url", googleCredentials, googleCredentials)
	if err != nil {
		return nil, err
	}
	accounts := []run.GoogleAccount{config.Account}
	if config.Login != nil {
		accounts = append(accounts, *config.Login)
	}
	for _, account := range accounts {
		if accountTypes[account.Type] == "" {
			return nil, run.Refuse(ReasonInvalidSpec, "spec.googleCustomerMatch has an account of type %q; the types are GoogleAds, DisplayVideoPartner and DisplayVideoAdvertiser", account.Type)
		}
	}
	if err := googleMatching.checkFields(config.Fields, "Google"); err != nil {
		return nil, err
	}
	return &Google{endpoint: to, config: config}, nil
}

// Holder is the audience. Through which account it is reached is no part of it.
func (g *Google) Holder() string {
	return g.host + "/" + g.config.Account.Type + "/" + g.config.Account.ID + "/" + g.config.Audience
}

// googleRequest of either method. Removals have no consent and no terms.
type googleRequest struct {
	Destinations []googleDestination `json:"destinations"`
	Members      []googleMember      `json:"audienceMembers"`
	Consent      *googleConsent      `json:"consent,omitempty"`
	Encoding     string              `json:"encoding"`
	Terms        *googleTerms        `json:"termsOfService,omitempty"`
}

type googleDestination struct {
	Operating googleAccount  `json:"operatingAccount"`
	Login     *googleAccount `json:"loginAccount,omitempty"`
	Audience  string         `json:"productDestinationId"`
}

type googleAccount struct {
	Type string `json:"accountType"`
	ID   string `json:"accountId"`
}

type googleConsent struct {
	AdUserData        string `json:"adUserData"`
	AdPersonalization string `json:"adPersonalization"`
}

type googleTerms struct {
	CustomerMatch string `json:"customerMatchTermsOfServiceStatus"`
}

type googleMember struct {
	Composite googleComposite `json:"compositeData"`
}

type googleComposite struct {
	User googleUser `json:"userData"`
}

type googleUser struct {
	Identifiers []googleIdentifier `json:"userIdentifiers"`
}

// googleIdentifier has exactly one field.
type googleIdentifier struct {
	Email   string            `json:"emailAddress,omitempty"`
	Phone   string            `json:"phoneNumber,omitempty"`
	Address map[string]string `json:"address,omitempty"`
}

// Deliver puts a batch into effect; see Destination. Google takes requests and works on them for hours: what it finds
// then is not a result of this call.
func (g *Google) Deliver(ctx context.Context, batch Batch) ([]Result, error) {
	results := make([]Result, len(batch.Operations))
	for start := 0; start < len(batch.Operations); {
		op := batch.Operations[start].Op
		var members []googleMember
		var of []int // the operation of each member
		end := start
		for ; end < len(batch.Operations) && batch.Operations[end].Op == op; end++ {
			more := googleMembers(batch.Operations[end])
			if len(members) > 0 && len(members)+len(more) > maxGoogleMembers {
				break
			}
			if len(more) == 0 && op == OpUpsert {
				results[end] = unmatchable("an email or a phone")
			}
			members = append(members, more...)
			of = append(of, slices.Repeat([]int{end}, len(more))...)
		}
		if err := g.deliver(ctx, op, members, of, results); err != nil {
			return nil, err
		}
		start = end
	}
	return results, nil
}

// googleMembers of an operation: one, or several when it has more identifiers than a member may have. An address goes
// with other identifiers alone: a removal has none, and who is known by nothing else would stay there for good.
func googleMembers(o Operation) []googleMember {
	ids := googleMatching.identifiers(o)
	var list []googleIdentifier
	for _, value := range ids["emailAddress"] {
		list = append(list, googleIdentifier{Email: value})
	}
	for _, value := range ids["phoneNumber"] {
		list = append(list, googleIdentifier{Phone: value})
	}
	if len(list) == 0 {
		return nil
	}
	address := map[string]string{}
	for _, field := range googleMatching.traits {
		if value, ok := googleMatching.trait(o, field); ok {
			address[field] = value
		}
	}
	if len(address) == len(googleMatching.traits) {
		list = append(list, googleIdentifier{Address: address})
	}
	var members []googleMember
	for chunk := range slices.Chunk(list, maxGoogleIdentifiers) {
		members = append(members, googleMember{googleComposite{googleUser{chunk}}})
	}
	return members
}

// deliver makes a request, and again without the members that it is refused for, each of which is a rejected row.
func (g *Google) deliver(ctx context.Context, op Op, members []googleMember, of []int, results []Result) error {
	for len(members) > 0 {
		bad, err := g.request(ctx, op, members)
		if err != nil || len(bad) == 0 {
			return err
		}
		for i, result := range bad {
			results[of[i]] = result
		}
		var kept []googleMember
		var keptOf []int
		for i := range members {
			if !results[of[i]].Rejected { // the other members of a rejected row neither
				kept, keptOf = append(kept, members[i]), append(keptOf, of[i])
			}
		}
		members, of = kept, keptOf
	}
	return nil
}

// request asks once. It gives what Google says of members by their index; then none is in effect.
func (g *Google) request(ctx context.Context, op Op, members []googleMember) (map[int]Result, error) {
	request := googleRequest{
		Destinations: []googleDestination{{Operating: toGoogle(g.config.Account), Audience: g.config.Audience}},
		Members:      members, Encoding: "HEX",
	}
	if g.config.Login != nil {
		login := toGoogle(*g.config.Login)
		request.Destinations[0].Login = &login
	}
	method := "remove"
	if op == OpUpsert {
		method = "ingest"
		request.Consent = &googleConsent{consent(g.config.AdUserData), consent(g.config.AdPersonalization)}
		request.Terms = &googleTerms{"ACCEPTED"}
	}
	body, err := json.Marshal(request)
	if err != nil {
		return nil, fmt.Errorf("encoding a batch for %s: %w", g.host, err)
	}
	token, err := g.token(ctx)
	if err != nil {
		return nil, err
	}
	header := http.Header{}
	header.Set("Authorization", "Bearer "+token)
	response, answer, err := g.post(ctx, strings.TrimRight(g.config.URL, "/")+"/v1/audienceMembers:"+method, header, body) //nolint:bodyclose // post has read and closed it
	if err != nil {
		return nil, err
	}
	return g.judge(response, answer, len(members))
}

func toGoogle(a run.GoogleAccount) googleAccount { return googleAccount{accountTypes[a.Type], a.ID} }

func consent(given bool) string {
	if given {
		return "CONSENT_GRANTED"
	}
	return "CONSENT_DENIED"
}

// token of the service account; a new one is fetched when the last runs out.
func (g *Google) token(ctx context.Context) (string, error) {
	if g.tokens == nil {
		key, err := readBounded(g.config.KeyFile)
		if err != nil {
			return "", run.Refuse(ReasonSecretNotFound, "reading the Secret key that %s names: %v; create the Secret with that key", googleCredentials, pathless(err))
		}
		config, ok := serviceAccount(key)
		if !ok { // what it is may be a credential
			return "", run.Refuse(ReasonSecretNotFound, "the Secret key that %s names is not the JSON key of a service account; download one from the Google Cloud console", googleCredentials)
		}
		// The client's time limit holds for tokens too. They outlive this call.
		g.tokens = config.TokenSource(context.WithValue(context.WithoutCancel(ctx), oauth2.HTTPClient, g.client))
	}
	if g.trace.isDry() { // a token is asked for over the network
		return "", nil
	}
	token, err := g.tokens.Token()
	if err == nil {
		return token.AccessToken, nil
	}
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) && refused.Response.StatusCode < 500 && refused.Response.StatusCode != http.StatusTooManyRequests {
		return "", run.Refuse(ReasonUnreachable, "Google gives the service account no token (%s); check the Secret key that %s names", statusLine(refused.Response), googleCredentials)
	}
	return "", &UnavailableError{Err: fmt.Errorf("fetching a token for Google: %w", withoutURL(err))}
}

// serviceAccount reads the JSON key of a service account: https://google.aip.dev/auth/4112
func serviceAccount(text string) (*jwt.Config, bool) {
	var key struct {
		Type     string `json:"type"`
		Email    string `json:"client_email"`
		Key      string `json:"private_key"`
		KeyID    string `json:"private_key_id"`
		TokenURI string `json:"token_uri"`
	}
	if json.Unmarshal([]byte(text), &key) != nil || key.Type != "service_account" || key.Email == "" || key.Key == "" || key.TokenURI == "" {
		return nil, false
	}
	block, _ := pem.Decode([]byte(key.Key))
	if block == nil {
		return nil, false
	}
	if _, err := x509.ParsePKCS8PrivateKey(block.Bytes); err != nil {
		return nil, false
	}
	return &jwt.Config{Email: key.Email, PrivateKey: []byte(key.Key), PrivateKeyID: key.KeyID, TokenURL: key.TokenURI, Scopes: []string{googleScope}}, true
}
