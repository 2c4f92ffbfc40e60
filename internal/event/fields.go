package event

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

// problem is why an event is refused.
type problem struct{ reason, message string }

// fields of one event as they stand in its JSON.
type fields struct {
	kind                  string
	event, name, category string
	userID, anonymousID   string
	previousID, groupID   string
	messageID             string
	timestamp, original   gjson.Result
	sentAt                string
	context, properties   string
	traits                string
	problem               *problem
}

// read takes the members of an event's JSON. Of two with one name the last counts.
func (f *fields) read(members []member) {
	typed := f.kind != ""
	for _, m := range members {
		value := gjson.Result{Type: gjson.JSON, Raw: m.value}
		if c := m.value[0]; c != '{' && c != '[' {
			value = gjson.Parse(m.value)
		}
		switch m.key {
		case "type":
			if !typed {
				f.kind = f.text(m.key, value, MaxID)
			}
		case "event":
			f.event = f.text(m.key, value, MaxSize)
		case "name":
			f.name = f.text(m.key, value, MaxSize)
		case "category":
			f.category = f.text(m.key, value, MaxSize)
		case "userId":
			f.userID = f.text(m.key, value, MaxID)
		case "anonymousId":
			f.anonymousID = f.text(m.key, value, MaxID)
		case "previousId":
			f.previousID = f.text(m.key, value, MaxID)
		case "groupId":
			f.groupID = f.text(m.key, value, MaxID)
		case "messageId":
			f.messageID = f.text(m.key, value, MaxMessageID)
		case "timestamp":
			f.timestamp = value
		case "originalTimestamp":
			f.original = value
		case "sentAt":
			f.sentAt = value.Str
		case "context":
			f.context = f.object(m.key, value)
		case "properties":
			f.properties = f.object(m.key, value)
		case "traits":
			f.traits = f.object(m.key, value)
		}
	}
}

func (f *fields) refuse(reason, format string, args ...any) {
	if f.problem == nil {
		f.problem = &problem{reason, fmt.Sprintf(format, args...)}
	}
}

// text takes a string, or a number as it is written, for ids are numbers in many a source.
func (f *fields) text(name string, value gjson.Result, limit int) string {
	var text string
	switch value.Type {
	case gjson.Null:
		return ""
	case gjson.String:
		text = value.Str
	case gjson.Number:
		text = value.Raw
	default:
		f.refuse(InvalidField, "%s must be a string", name)
		return ""
	}
	if len(text) > limit {
		f.refuse(TooLarge, "%s has %d bytes; at most %d are taken", name, len(text), limit)
	}
	return text
}

func (f *fields) object(name string, value gjson.Result) string {
	if value.Type == gjson.Null {
		return ""
	}
	if !value.IsObject() {
		f.refuse(InvalidField, "%s must be an object", name)
		return ""
	}
	return value.Raw
}

// complete makes the event of the fields.
func (f *fields) complete(e *Event, p *parser) *problem {
	f.named(e)
	f.timed(e, p)
	e.Context = mergeObjects(f.context, p.context)
	if p.ip != "" {
		e.Context = withField(e.Context, "ip", quote(p.ip))
	}
	f.identified(e)
	f.describe(e)
	return f.problem
}

// named gives the event its name and properties.
func (f *fields) named(e *Event) {
	e.Properties = orEmpty(f.properties)
	switch f.kind {
	case Track:
		e.Name = strings.TrimSpace(f.event)
		if e.Name == "" {
			f.refuse(MissingField, "event, the name of what happened, is missing from a track event")
		}
		if utf8.RuneCountInString(e.Name) > MaxName {
			f.refuse(TooLarge, "event has more than %d characters; put what varies into properties", MaxName)
		}
	case Page, Screen:
		e.Name = NamePage
		if f.kind == Screen {
			e.Name = NameScreen
		}
		if f.category != "" {
			e.Properties = withField(e.Properties, "category", quote(f.category))
		}
		if f.name != "" {
			e.Properties = withField(e.Properties, "name", quote(f.name))
		}
	case Identify:
		e.Name, e.Properties = NameIdentify, orEmpty(f.traits)
	case Group:
		e.Name, e.Properties = NameGroup, orEmpty(f.traits)
		if f.groupID == "" {
			f.refuse(MissingField, "groupId is missing from a group event")
		}
		e.Properties = withField(e.Properties, "groupId", quote(f.groupID))
	case Alias:
		e.Name = NameAlias
		if f.previousID == "" || f.userID == "" {
			f.refuse(MissingField, "an alias event needs previousId and userId")
		}
		e.Properties = withField(e.Properties, "previousId", quote(f.previousID))
	case "":
		f.refuse(MissingField, "type is missing: track, identify, page, screen, group or alias")
	default:
		f.refuse(UnknownType, "type %.64q is unknown: use track, identify, page, screen, group or alias", f.kind)
	}
}

// timed sets when the event happened.
func (f *fields) timed(e *Event, p *parser) {
	given := f.timestamp
	if !given.Exists() || given.Type == gjson.Null {
		given = f.original
	}
	if !given.Exists() || given.Type == gjson.Null {
		e.Occurred = e.Received
		return
	}
	original, ok := parseTime(given)
	if !ok {
		f.refuse(InvalidTimestamp, "timestamp %.64q is not a time such as 2026-11-23T18:04:05.678Z", given.String())
		return
	}
	sentAt := f.sentAt
	if sentAt == "" {
		sentAt = p.sentAt
	}
	e.Occurred = correct(original, sentAt, e.Received)
}

// identified lists the identifiers that stand in fields of their own.
func (f *fields) identified(e *Event) {
	list := make([]Identifier, 0, 2)
	if f.userID != "" {
		list = append(list, Identifier{Type: UserID, Value: f.userID})
	}
	if f.kind == Alias && f.previousID != "" {
		list = append(list, Identifier{Type: UserID, Value: f.previousID, Else: AnonymousID})
	}
	if f.anonymousID != "" {
		list = append(list, Identifier{Type: AnonymousID, Value: f.anonymousID})
	}
	e.Identifiers = list
}

// describe reads the traits of the customer or, of a group event, those of the account, and the identifiers in
// context.externalIds.
func (f *fields) describe(e *Event) {
	if len(e.Context) > len("{}") {
		gjson.Parse(e.Context).ForEach(func(key, value gjson.Result) bool {
			switch key.Str {
			case "traits":
				if value.IsObject() {
					e.Traits = f.take(e.Traits, value)
				}
			case "externalIds":
				if value.IsArray() {
					f.external(e, value)
				}
			}
			return true
		})
	}
	switch f.kind {
	case Identify:
		e.Traits = f.take(e.Traits, gjson.Parse(f.traits))
	case Group:
		e.Account = &Account{ID: f.groupID, Traits: f.take(nil, gjson.Parse(f.traits))}
		f.limitTraits(e.Account.Traits)
	}
	f.limitTraits(e.Traits)
}

func (f *fields) limitTraits(traits []Trait) {
	if len(traits) > MaxTraits {
		f.refuse(TooLarge, "the event has %d traits; at most %d are taken", len(traits), MaxTraits)
	}
}

// take adds the fields of an object to a list of traits.
func (f *fields) take(list []Trait, object gjson.Result) []Trait {
	object.ForEach(func(key, value gjson.Result) bool {
		switch {
		case key.Str == "":
		case len(key.Str) > MaxTraitName:
			f.refuse(TooLarge, "the name of trait %.64q has more than %d bytes", key.Str, MaxTraitName)
		default:
			list = append(list, Trait{Name: key.Str, Value: value.Raw})
		}
		return true
	})
	return list
}

// external reads context.externalIds: [{"type":"…","id":"…","collection":"users"}]. Other collections are not customers.
func (f *fields) external(e *Event, list gjson.Result) {
	list.ForEach(func(_, entry gjson.Result) bool {
		kind, id, collection := entry.Get("type"), entry.Get("id"), entry.Get("collection")
		if kind.Type != gjson.String || kind.Str == "" || (collection.Exists() && collection.String() != "users") {
			return true
		}
		if value := f.text("context.externalIds[].id", id, MaxID); value != "" {
			e.Identifiers = append(e.Identifiers, Identifier{Type: kind.Str, Value: value})
		}
		return true
	})
}

func orEmpty(object string) string {
	if object == "" {
		return "{}"
	}
	return object
}

// withField adds a field to a JSON object that does not have it.
func withField(object, name, value string) string {
	object = orEmpty(object)
	if gjson.Get(object, name).Exists() {
		return object
	}
	rest := strings.TrimLeft(object[1:], " \t\r\n")
	if rest == "}" {
		return `{"` + name + `":` + value + `}`
	}
	return `{"` + name + `":` + value + `,` + rest
}

// withContext gives an event the context that it has with that of its batch.
func withContext(object, context string) string {
	own := gjson.Get(object, "context")
	switch {
	case context == "" || context == "{}" || own.Raw == context:
		return object
	case !own.Exists():
		return withField(object, "context", context)
	case own.Index == 0: // not at one place
		return object
	}
	return object[:own.Index] + context + object[own.Index+len(own.Raw):]
}

// mergeObjects gives item with the fields of common that item lacks.
func mergeObjects(item, common string) string {
	if common == "" {
		return orEmpty(item)
	}
	if item == "" {
		return common
	}
	own := map[string]struct{}{}
	gjson.Parse(item).ForEach(func(key, _ gjson.Result) bool {
		own[key.Str] = struct{}{}
		return true
	})
	merged := append(make([]byte, 0, len(item)+len(common)), '{')
	gjson.Parse(common).ForEach(func(key, value gjson.Result) bool {
		if _, has := own[key.Str]; !has {
			merged = append(append(append(append(merged, key.Raw...), ':'), value.Raw...), ',')
		}
		return true
	})
	rest := strings.TrimLeft(item[1:], " \t\r\n")
	if rest == "}" && len(merged) > 1 {
		merged = merged[:len(merged)-1] // the comma
	}
	return string(append(merged, rest...))
}

// quote writes text as JSON. What it is called with was valid JSON before, or an address.
func quote(text string) string {
	return string(gjson.AppendJSONString(make([]byte, 0, len(text)+2), text))
}
