package adtest

import (
	"fmt"
	"io"
	"net/http"
	"strings"
)

// teeReader keeps what is read of a body.
func teeReader(r *http.Request, to *strings.Builder) io.Reader { return io.TeeReader(r.Body, to) }

type googleBody struct {
	Destinations []struct {
		Operating struct {
			Type string `json:"accountType"`
			ID   string `json:"accountId"`
		} `json:"operatingAccount"`
		Audience string `json:"productDestinationId"`
	} `json:"destinations"`
	Members []struct {
		Composite struct {
			User struct {
				Identifiers []googleID `json:"userIdentifiers"`
			} `json:"userData"`
		} `json:"compositeData"`
	} `json:"audienceMembers"`
	Consent struct {
		AdUserData        string `json:"adUserData"`
		AdPersonalization string `json:"adPersonalization"`
	} `json:"consent"`
	Encoding string `json:"encoding"`
	Terms    struct {
		Status string `json:"customerMatchTermsOfServiceStatus"`
	} `json:"termsOfService"`
}

type googleID struct {
	Email   string            `json:"emailAddress"`
	Phone   string            `json:"phoneNumber"`
	Address map[string]string `json:"address"`
}

func (i googleID) text() string {
	switch {
	case i.Email != "":
		return "email=" + i.Email
	case i.Phone != "":
		return "phone=" + i.Phone
	}
	return fmt.Sprintf("address=%s,%s,%s,%s", i.Address["givenName"], i.Address["familyName"], i.Address["regionCode"], i.Address["postalCode"])
}

// violations lists what Google refuses a request for.
func (b *googleBody) violations(method string) []Violation {
	var out []Violation
	add := func(field, reason, description string) { out = append(out, Violation{field, reason, description}) }
	if len(b.Destinations) != 1 || b.Destinations[0].Operating.Type != "GOOGLE_ADS" || b.Destinations[0].Operating.ID != "1234567890" || b.Destinations[0].Audience == "" {
		add("destinations[0].operating_account", "INVALID_DESTINATION", "The destination is not valid.")
	}
	if b.Encoding != "HEX" {
		add("encoding", "REQUIRED_FIELD_MISSING", "The field is required.")
	}
	if method == "ingest" && (b.Terms.Status != "ACCEPTED" || !strings.HasPrefix(b.Consent.AdUserData, "CONSENT_") || !strings.HasPrefix(b.Consent.AdPersonalization, "CONSENT_")) {
		add("terms_of_service", "TERMS_OF_SERVICE_NOT_SIGNED", "Customer Match terms of service are not accepted.")
	}
	if len(b.Members) == 0 || len(b.Members) > 10_000 {
		add("audience_members", "TOO_MANY_MEMBERS", "There must be 1 to 10000.")
	}
	for i, member := range b.Members {
		ids := member.Composite.User.Identifiers
		if len(ids) == 0 || len(ids) > 10 {
			add(fmt.Sprintf("audience_members[%d].composite_data.user_data.user_identifiers", i), "TOO_MANY_USER_IDENTIFIERS", "There must be 1 to 10.")
		}
		for j, id := range ids {
			field := fmt.Sprintf("audience_members[%d].composite_data.user_data.user_identifiers[%d]", i, j)
			hash := id.Email + id.Phone
			if id.Address != nil {
				hash = id.Address["givenName"]
				if len(id.Address) != 4 || !sha256Hex.MatchString(id.Address["familyName"]) {
					add(field+".address", "REQUIRED_FIELD_MISSING", "The address is not whole.")
				}
			}
			if !sha256Hex.MatchString(hash) {
				add(field, "INVALID_SHA256_FORMAT", "The value is not a SHA-256 in hexadecimal.")
			}
		}
	}
	return out
}
