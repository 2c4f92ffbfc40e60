package engine

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"kohort.dev/kohort/internal/account"
	"kohort.dev/kohort/internal/event"
	"kohort.dev/kohort/internal/profile"
)

// account answers GET /v1/accounts/{account}.
func (a *api) account(ctx context.Context, r *http.Request) (any, error) {
	conn, id, err := a.accountOf(r)
	if err != nil {
		return nil, err
	}
	found, err := account.Get(ctx, conn, id)
	if errors.Is(err, account.ErrNotFound) {
		return nil, refusal{http.StatusNotFound, "AccountNotFound", "no group event has named this account; ids are compared as they are written"}
	}
	return found, err
}

// membersAnswer is one page.
type membersAnswer struct {
	Account string           `json:"account"`
	Members []account.Member `json:"members"`
	// Next is the cursor of the page after this one; the last page has none.
	Next string `json:"next,omitempty"`
}

// members answers GET /v1/accounts/{account}/members?limit=20&cursor=NEXT.
func (a *api) members(ctx context.Context, r *http.Request) (any, error) {
	conn, id, err := a.accountOf(r)
	if err != nil {
		return nil, err
	}
	limit, err := howMany(r.URL.Query(), "limit", 1)
	if err != nil {
		return nil, err
	}
	after := uint64(0)
	if text := r.URL.Query().Get("cursor"); text != "" {
		if after, err = strconv.ParseUint(text, 36, 64); err != nil {
			return nil, errBadCursor
		}
	}
	members, err := account.Members(ctx, conn, id, after, limit+1) // one more tells whether there is another page
	if err != nil {
		return nil, err
	}
	out := membersAnswer{Account: id, Members: members}
	if len(members) > limit {
		out.Members = members[:limit]
		out.Next = strconv.FormatUint(members[limit-1].Ordinal, 36)
	}
	return out, nil
}

// links answers GET /v1/profiles/{type}:{value}/links.
func (a *api) links(ctx context.Context, r *http.Request) (any, error) {
	conn, p, err := a.read(ctx, r, profile.Want{})
	if err != nil {
		return nil, err
	}
	accounts, err := account.Links(ctx, conn, p.Ordinal)
	if err != nil {
		return nil, err
	}
	return map[string]any{"id": p.ID, "accounts": accounts}, nil
}

func (a *api) accountOf(r *http.Request) (driver.Conn, string, error) {
	id := r.PathValue("account")
	if id == "" || len(id) > event.MaxID {
		return nil, "", refusal{http.StatusBadRequest, "BadAccount", "write the groupId of an account, at most " + strconv.Itoa(event.MaxID) + " bytes"}
	}
	conn, err := a.store.get()
	return conn, id, err
}
