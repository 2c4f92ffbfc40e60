package controllers

import (
	"slices"
	"strings"
)

// plainSpecs are the plainest right specs.
var plainSpecs = map[string]string{
	"Platform":        `{type: CDP, storage: {embedded: {size: 1Gi}}}`,
	"Source":          `{platformRef: {name: p}, http: {}}`,
	"Audience":        `{platformRef: {name: p}, criteria: [{name: a, event: {name: E}}]}`,
	"Destination":     `{platformRef: {name: p}, webhook: {url: "https://h.test"}}`,
	"RetentionPolicy": `{platformRef: {name: p}, select: {data: [Events]}, maxAge: 90d}`,
	"Sync":            `{platformRef: {name: p}, audienceRef: {name: a}, destinationRef: {name: d}, mode: Mirror, schedule: 1h, deletionPolicy: Remove}`,
}

func celCases() []celCase {
	return slices.Concat(platformRules(), sourceRules(), audienceRules(), destinationRules(), retentionRules(), syncRules())
}

// fixed is a rule that a field cannot change.
func fixed(kind, path, message, changed string) celCase {
	return celCase{kind: kind, path: path, message: message, before: plainSpecs[kind], accepted: []string{plainSpecs[kind]}, refused: []string{changed}}
}

// sized is a rule on the length of a name.
func sized(kind, message string, longest int) celCase {
	return celCase{kind: kind, message: message, goodNames: []string{strings.Repeat("n", longest)}, badNames: []string{strings.Repeat("n", longest+1)}}
}

func platformRules() []celCase {
	const embedded = "spec.storage.embedded"
	spec := func(storage string) string { return `{type: CDP, storage: {embedded: {` + storage + `}}}` }
	identifier := func(rule string) string {
		return `{type: CDP, storage: {embedded: {size: 1Gi}}, identity: {identifiers: [{` + rule + `}]}}`
	}
	identity := func(rule string) string { return identifier(`type: userId, ` + rule) }
	return []celCase{
		sized("Platform", "a Platform's name has at most 40 characters, for the names of its workloads are made from it", 40),
		{
			kind: "Platform", message: "a Platform's name starts with a letter and has no dots, for the names of its Services are made from it",
			goodNames: []string{"shop", "a", "shop-2"}, badNames: []string{"2shop", "shop.eu"},
		},
		{
			kind: "Platform", path: "spec.storage", message: "storage needs embedded: {size: 20Gi}",
			accepted: []string{plainSpecs["Platform"]}, refused: []string{`{type: CDP, storage: {}}`},
		},
		{
			kind: "Platform", path: embedded, message: "storageClassName cannot be changed; make a new Platform and copy the data",
			before: spec(`size: 1Gi, storageClassName: fast`), accepted: []string{spec(`size: 2Gi, storageClassName: fast`)},
			refused: []string{spec(`size: 1Gi, storageClassName: slow`), spec(`size: 1Gi, storageClassName: null`)},
		},
		{
			kind: "Platform", path: embedded, message: "size cannot shrink",
			before: spec(`size: 1Gi`), accepted: []string{spec(`size: 1Gi`), spec(`size: 1024Mi`), spec(`size: 1025Mi`)},
			refused: []string{spec(`size: 1023Mi`), spec(`size: 1G`)},
		},
		{
			kind: "Platform", path: "spec.identity.identifiers[]", message: "unique means limit 1: leave limit out",
			accepted: []string{identity(`unique: true`), identity(`unique: true, limit: 1`), identity(`limit: 5`), identity(`unique: false, limit: 5`)},
			refused:  []string{identity(`unique: true, limit: 2`)},
		},
		{
			kind: "Platform", path: "spec.identity.identifiers[]", message: "unique is for ever: leave window out",
			accepted: []string{identity(`unique: true`), identity(`limit: 5, window: 7d`), identity(`unique: false, window: 7d`)},
			refused:  []string{identity(`unique: true, window: 7d`)},
		},
		{
			kind: "Platform", path: "spec.identity.identifiers[]", message: "region is for telephone numbers: set normalize to Phone, or leave region out",
			accepted: []string{identifier(`type: phone, region: DE`), identifier(`type: mobile, normalize: Phone, region: DE`)},
			refused:  []string{identifier(`type: mobile, region: DE`), identifier(`type: phone, normalize: Digits, region: DE`)},
		},
		{
			kind: "Platform", path: "spec.identity.identifiers[]", message: "compose makes a type of its own and is normalised as names are: give it another type, such as person, and leave normalize out",
			accepted: []string{identifier(`type: person, compose: [firstName, lastName, birthDate]`)},
			refused:  []string{identifier(`type: email, compose: [a, b]`), identifier(`type: person, compose: [a, b], normalize: Lowercase`)},
		},
		{ // There is one type so far, so the enum answers. This case fails as soon as there is another.
			kind: "Platform", path: "spec.type", message: "type cannot be changed; make a new Platform", instead: `supported values: "CDP"`,
			before: plainSpecs["Platform"], accepted: []string{plainSpecs["Platform"]}, refused: []string{`{type: DMP, storage: {embedded: {size: 1Gi}}}`},
		},
	}
}

func sourceRules() []celCase {
	const (
		files     = `files: {url: "https://h.test/a.csv", format: CSV}`
		sql       = `sql: {driver: postgres, dsnSecretRef: {name: s, key: k}, query: select 1}`
		mapping   = `mapping: "root = this"`
		kafka     = `kafka: {brokers: ["k:9092"], topics: [t]}`
		nats      = `nats: {urls: ["nats://n:4222"], stream: S}`
		connector = `connector: {input: {mqtt: {}}}`
		webhook   = `webhook: {}`
	)
	spec := func(parts ...string) string { return `{platformRef: {name: p}, ` + strings.Join(parts, ", ") + `}` }
	auto := func(text string) string { return spec(`http: {autoscaling: {` + text + `}}`) }
	query := func(text string) string {
		return spec(mapping, `sql: {driver: postgres, dsnSecretRef: {name: s, key: k}, `+text+`}`)
	}
	url := func(text string) string { return spec(mapping, `files: {format: CSV, `+text+`}`) }
	hook := func(text string) string { return spec(mapping, `webhook: {`+text+`}`) }
	window := func(text string) string { return spec(`http: {}, deduplication: {window: ` + text + `}`) }
	return []celCase{
		sized("Source", "a Source's name has at most 40 characters, for the names of its workloads are made from it", 40),
		{
			kind: "Source", message: "a Source's name starts with a letter and has no dots, for the names of its Services are made from it",
			goodNames: []string{"web", "web-2"}, badNames: []string{"2web", "web.eu"},
		},
		{
			kind: "Source", path: "spec", message: "exactly one of http, files, sql, kafka, nats, connector and webhook is needed",
			accepted: []string{spec(`http: {}`), spec(files, mapping), spec(sql, mapping), spec(kafka, mapping), spec(nats, mapping), spec(connector, mapping), spec(webhook, mapping)},
			refused:  []string{spec(mapping), spec(`http: {}`, files, mapping), spec(files, sql, mapping), spec(kafka, nats, mapping), spec(connector, sql, mapping), spec(webhook, nats, mapping)},
		},
		{
			kind: "Source", path: "spec", message: "the kind of a Source cannot be changed; make a new Source",
			before: spec(files, mapping), accepted: []string{spec(`files: {url: "https://h.test/b.csv", format: JSONL}`, mapping)},
			refused: []string{spec(`files: null`, sql, mapping), spec(`files: null, mapping: null, http: {}`), spec(`files: null`, kafka, mapping), spec(`files: null`, nats, mapping), spec(`files: null`, connector, mapping), spec(`files: null`, webhook, mapping)},
		},
		{
			kind: "Source", path: "spec.webhook", message: "verify HMAC, Stripe and StandardWebhooks need secretRef, the secret that the sender signs with",
			accepted: []string{hook(``), hook(`verify: Token`), hook(`verify: Stripe, secretRef: {name: s, key: k}`)}, refused: []string{hook(`verify: Stripe`), hook(`verify: StandardWebhooks`)},
		},
		{
			kind: "Source", path: "spec.webhook", message: "verify HMAC needs signature, where the request has it, and only it does",
			accepted: []string{hook(`verify: HMAC, secretRef: {name: s, key: k}, signature: {header: X-Hub-Signature-256, prefix: "sha256="}`)},
			refused:  []string{hook(`verify: HMAC, secretRef: {name: s, key: k}`), hook(`signature: {header: X-S}`), hook(`verify: Stripe, secretRef: {name: s, key: k}, signature: {header: X-S}`)},
		},
		{
			kind: "Source", path: "spec", message: "startingDeadline and catchUp need a schedule",
			accepted: []string{spec(files, mapping, `schedule: 1h, startingDeadline: 10m, catchUp: Latest`)}, refused: []string{spec(files, mapping, `startingDeadline: 10m`), spec(files, mapping, `catchUp: Latest`)},
		},
		{
			kind: "Source", path: "spec", message: "catchUp All needs startingDeadline, which says how far back it goes",
			accepted: []string{spec(files, mapping, `schedule: 1h, startingDeadline: 2d, catchUp: All`)}, refused: []string{spec(files, mapping, `schedule: 1h, catchUp: All`)},
		},
		{
			kind: "Source", path: "spec.deduplication.window", message: "window is from 1m to 14d, in whole minutes, hours or days such as 24h",
			accepted: []string{window("1m"), window("20160m"), window("336h"), window("14d")},
			refused:  []string{window("0m"), window("60s"), window("20161m"), window("337h"), window("15d"), window("1h30m"), window("1y")},
		},
		{
			kind: "Source", path: "spec", message: "mapping is required with every kind but http, and not used with http",
			accepted: []string{spec(`http: {}`), spec(files, mapping)}, refused: []string{spec(`http: {}`, mapping), spec(files), spec(sql), spec(kafka)},
		},
		{
			kind: "Source", path: "spec", message: "schedule is for files and sql; every other Source takes events at any time",
			accepted: []string{spec(files, mapping, `schedule: 1h`)}, refused: []string{spec(`http: {}`, `schedule: 1h`), spec(nats, mapping, `schedule: 1h`)},
		},
		{
			kind: "Source", path: "spec", message: "timeZone needs a schedule",
			accepted: []string{spec(files, mapping, `schedule: "0 6 * * *", timeZone: Europe/Berlin`)}, refused: []string{spec(files, mapping, `timeZone: Europe/Berlin`)},
		},
		{
			kind: "Source", path: "spec.files", message: "an s3:// url needs s3, where and how the storage is reached, and only it does",
			accepted: []string{url(`url: "s3://lists/2026/*.csv", s3: {}`), url(`url: "https://h.test/a.csv"`)},
			refused:  []string{url(`url: "s3://lists/a.csv"`), url(`url: "https://h.test/a.csv", s3: {}`)},
		},
		{
			kind: "Source", path: "spec.files.s3", message: "accessKeyIDSecretRef and secretAccessKeySecretRef need each other",
			accepted: []string{url(`url: "s3://l/a.csv", s3: {accessKeyIDSecretRef: {name: s, key: k}, secretAccessKeySecretRef: {name: s, key: l}}`)},
			refused:  []string{url(`url: "s3://l/a.csv", s3: {accessKeyIDSecretRef: {name: s, key: k}}`), url(`url: "s3://l/a.csv", s3: {secretAccessKeySecretRef: {name: s, key: k}}`)},
		},
		{
			kind: "Source", path: "spec.nats", message: "username and passwordSecretRef need each other",
			accepted: []string{spec(nats, mapping), spec(`nats: {urls: ["tls://n:4222"], stream: S, username: u, passwordSecretRef: {name: s, key: k}}`, mapping)},
			refused:  []string{spec(`nats: {urls: ["nats://n:4222"], stream: S, username: u}`, mapping), spec(`nats: {urls: ["nats://n:4222"], stream: S, passwordSecretRef: {name: s, key: k}}`, mapping)},
		},
		{
			kind: "Source", path: "spec.nats", message: "either username or credentialsSecretRef, not both",
			accepted: []string{spec(`nats: {urls: ["nats://n:4222"], stream: S, credentialsSecretRef: {name: s, key: k}}`, mapping)},
			refused:  []string{spec(`nats: {urls: ["nats://n:4222"], stream: S, username: u, passwordSecretRef: {name: s, key: k}, credentialsSecretRef: {name: s, key: k}}`, mapping)},
		},
		fixed("Source", "spec.platformRef", "platformRef cannot be changed; make a new Source", `{platformRef: {name: other}, http: {}}`),
		{
			kind: "Source", path: "spec.http", message: "either replicas or autoscaling, not both",
			accepted: []string{spec(`http: {replicas: 2}`), auto(`minReplicas: 1, maxReplicas: 2`)},
			refused:  []string{spec(`http: {replicas: 2, autoscaling: {minReplicas: 1, maxReplicas: 2}}`)},
		},
		{
			kind: "Source", path: "spec.http.limits", message: "burst needs eventsPerSecond",
			accepted: []string{spec(`http: {limits: {eventsPerSecond: 100, burst: 200}}`), spec(`http: {limits: {maxBatchBytes: 4096000}, cors: {allowedOrigins: ["https://*.h.test:8443"]}}`)},
			refused:  []string{spec(`http: {limits: {burst: 200}}`)},
		},
		{
			kind: "Source", path: "spec.http.autoscaling", message: "minReplicas must not exceed maxReplicas",
			accepted: []string{auto(`minReplicas: 2, maxReplicas: 2`)}, refused: []string{auto(`minReplicas: 3, maxReplicas: 2`)},
		},
		{
			kind: "Source", path: "spec.files", message: "a file:// url needs claimRef, the PersistentVolumeClaim that holds it, and only it does",
			accepted: []string{url(`url: "file:///a/*.csv", claimRef: {name: c}`), url(`url: "https://h.test/a.csv"`)},
			refused:  []string{url(`url: "file:///a.csv"`), url(`url: "https://h.test/a.csv", claimRef: {name: c}`)},
		},
		{
			kind: "Source", path: "spec.sql", message: "with cursorColumn the query must use $1, the cursor's last value (NULL in the first run)",
			accepted: []string{query(`query: "select * from t where id > $1", cursorColumn: id`), query(`query: select 1`)},
			refused:  []string{query(`query: select * from t, cursorColumn: id`)},
		},
	}
}

func audienceRules() []celCase {
	spec := func(criterion string) string { return `{platformRef: {name: p}, criteria: [{` + criterion + `}]}` }
	count := func(text string) string { return spec(`name: a, event: {name: E, count: {` + text + `}}`) }
	return []celCase{
		sized("Audience", "an Audience's name has at most 63 characters", 63),
		fixed("Audience", "spec.platformRef", "platformRef cannot be changed; make a new Audience", `{platformRef: {name: other}, criteria: [{name: a, event: {name: E}}]}`),
		{
			kind: "Audience", path: "spec.criteria[]", message: "exactly one of event, sequence, trait, audience, sample and members is needed",
			accepted: []string{spec(`name: a, event: {name: E}`), spec(`name: a, trait: {name: t, operator: Exists}`), spec(`name: a, audience: {name: b}`),
				spec(`name: a, sequence: {steps: [{name: E}, {name: F}], window: 1h}`), spec(`name: a, sample: {percent: 10}`), spec(`name: a, members: {ids: [00000000-0000-4000-8000-000000000001]}`)},
			refused: []string{spec(`name: a`), spec(`name: a, event: {name: E}, audience: {name: b}`), spec(`name: a, event: {name: E}, trait: {name: t, operator: Exists}`)},
		},
		{
			kind: "Audience", path: "spec.criteria[].name", message: "this name is a word of CEL; choose another",
			accepted: []string{spec(`name: inside, event: {name: E}`), spec(`name: "True", event: {name: E}`)},
			refused:  []string{spec(`name: in, event: {name: E}`), spec(`name: "true", event: {name: E}`), spec(`name: while, event: {name: E}`)},
		},
		{
			kind: "Audience", path: "spec.criteria[].event", message: "within and between exclude each other; between {from} is within",
			accepted: []string{spec(`name: a, event: {name: E, within: 30d}`), spec(`name: a, event: {name: E, between: {from: 90d, to: 30d}, aggregate: {function: Sum, property: total, operator: AtLeast, value: 100}}`)},
			refused:  []string{spec(`name: a, event: {name: E, within: 30d, between: {from: 90d}}`)},
		},
		{
			kind: "Audience", path: "spec.criteria[].event.between", message: "from or to is needed",
			accepted: []string{spec(`name: a, event: {name: E, between: {from: "2026-01-01"}}`), spec(`name: a, event: {name: E, between: {to: 30d}}`)},
			refused:  []string{spec(`name: a, event: {name: E, between: {}}`)},
		},
		{
			kind: "Audience", path: "spec.criteria[].event.count", message: "min or max is needed",
			accepted: []string{count(`min: 1`), count(`max: 0`)}, refused: []string{count(``)},
		},
		{
			kind: "Audience", path: "spec.criteria[].event.count", message: "min must not exceed max",
			accepted: []string{count(`min: 2, max: 2`)}, refused: []string{count(`min: 3, max: 2`)},
		},
	}
}

func destinationRules() []celCase {
	const (
		webhook   = `webhook: {url: "https://h.test"}`
		sql       = `sql: {driver: postgres, dsnSecretRef: {name: s, key: k}, table: t}`
		segment   = `segment: {writeKeySecretRef: {name: s, key: k}}`
		meta      = `metaCustomAudience: {audienceID: "23851234567890", accessTokenSecretRef: {name: s, key: k}}`
		google    = `googleCustomerMatch: {account: {id: "1234567890"}, audienceID: "987", credentialsSecretRef: {name: s, key: k}, consent: {adUserData: Granted, adPersonalization: Denied}, termsOfService: Accepted}`
		files     = `files: {url: "file:///out", claimRef: {name: c}, format: CSV}`
		kafka     = `kafka: {brokers: ["b:9092"], topic: members}`
		nats      = `nats: {urls: ["nats://n:4222"], subject: members.vip}`
		connector = `connector: {output: {drop: {}}}`
		keys      = `accessKeyIDSecretRef: {name: s, key: i}, secretAccessKeySecretRef: {name: s, key: k}`
	)
	login := func(more string) string {
		return `{platformRef: {name: p}, nats: {urls: ["nats://n:4222"], subject: members` + more + `}}`
	}
	s3 := func(url, more string) string {
		return `{platformRef: {name: p}, files: {url: "` + url + `", format: JSONL` + more + `}}`
	}
	spec := func(parts ...string) string { return `{platformRef: {name: p}, ` + strings.Join(parts, ", ") + `}` }
	return []celCase{
		sized("Destination", "a Destination's name has at most 63 characters", 63),
		fixed("Destination", "spec.platformRef", "platformRef cannot be changed; make a new Destination", `{platformRef: {name: other}, `+webhook+`}`),
		{
			kind: "Destination", path: "spec", message: "exactly one of webhook, sql, segment, metaCustomAudience, googleCustomerMatch, files, kafka, nats and connector is needed",
			accepted: []string{spec(webhook), spec(sql), spec(strings.Replace(sql, "postgres", "mysql", 1)), spec(segment), spec(meta), spec(google), spec(files), spec(kafka), spec(nats), spec(connector)},
			refused:  []string{`{platformRef: {name: p}}`, spec(webhook, sql), spec(sql, segment), spec(meta, google), spec(meta, webhook), spec(files, sql), spec(kafka, nats), spec(connector, nats)},
		},
		{
			kind: "Destination", path: "spec", message: "the kind of a Destination cannot be changed; make a new Destination",
			before: spec(webhook), accepted: []string{spec(`webhook: {url: "https://other.test"}`)}, refused: []string{spec(`webhook: null`, sql), spec(`webhook: null`, segment), spec(`webhook: null`, meta), spec(`webhook: null`, google), spec(`webhook: null`, files), spec(`webhook: null`, kafka), spec(`webhook: null`, nats), spec(`webhook: null`, connector)},
		},
		{
			kind: "Destination", path: "spec.files", message: "a file:// url needs claimRef, the PersistentVolumeClaim that it lies in, and only it does",
			accepted: []string{spec(files)}, refused: []string{s3("file:///out", ""), s3("s3://b/out", `, claimRef: {name: c}, s3: {`+keys+`}`)},
		},
		{
			kind: "Destination", path: "spec.files", message: "an s3:// url needs s3, where and how the storage is reached, and only it does",
			accepted: []string{s3("s3://b/out", `, s3: {`+keys+`}`)}, refused: []string{s3("s3://b/out", ""), s3("file:///out", `, claimRef: {name: c}, s3: {`+keys+`}`)},
		},
		{
			kind: "Destination", path: "spec.files", message: "s3 needs accessKeyIDSecretRef and secretAccessKeySecretRef: nobody lets everybody write",
			accepted: []string{s3("s3://b/out", `, s3: {`+keys+`}`)}, refused: []string{s3("s3://b/out", `, s3: {region: r}`)},
		},
		{
			kind: "Destination", path: "spec.files.s3", message: "accessKeyIDSecretRef and secretAccessKeySecretRef need each other",
			accepted: []string{s3("s3://b/out", `, s3: {`+keys+`}`)}, refused: []string{s3("s3://b/out", `, s3: {accessKeyIDSecretRef: {name: s, key: i}}`)},
		},
		{
			kind: "Destination", path: "spec.nats", message: "username and passwordSecretRef need each other",
			accepted: []string{login(`, username: u, passwordSecretRef: {name: s, key: k}`)}, refused: []string{login(`, username: u`), login(`, passwordSecretRef: {name: s, key: k}`)},
		},
		{
			kind: "Destination", path: "spec.nats", message: "either username or credentialsSecretRef, not both",
			accepted: []string{login(`, credentialsSecretRef: {name: s, key: k}`)}, refused: []string{login(`, username: u, passwordSecretRef: {name: s, key: k}, credentialsSecretRef: {name: s, key: k}`)},
		},
	}
}

func retentionRules() []celCase {
	spec := func(data, more string) string {
		return `{platformRef: {name: p}, select: {data: [` + data + `]` + more + `, maxAge: 90d`
	}
	return []celCase{
		fixed("RetentionPolicy", "spec.platformRef", "platformRef cannot be changed; make a new RetentionPolicy", `{platformRef: {name: other}, select: {data: [Events]}, maxAge: 90d}`),
		{
			kind: "RetentionPolicy", path: "spec", message: "select.events is for data: [Events] alone",
			accepted: []string{spec(`Events`, `, events: [E]}`) + `}`, spec(`Events, Quarantine`, `}`) + `}`},
			refused:  []string{spec(`Quarantine`, `, events: [E]}`) + `}`, spec(`Events, Quarantine`, `, events: [E]}`) + `}`},
		},
		{
			kind: "RetentionPolicy", path: "spec", message: "from: Occurred is for data: [Events] alone; quarantine knows only when it was received",
			accepted: []string{spec(`Events`, `}`) + `, from: Occurred}`, spec(`Quarantine`, `}`) + `, from: Received}`},
			refused:  []string{spec(`Quarantine`, `}`) + `, from: Occurred}`, spec(`Events, Quarantine`, `}`) + `, from: Occurred}`},
		},
	}
}

func syncRules() []celCase {
	other := func(field string) string {
		return strings.Replace(plainSpecs["Sync"], field+": {name: "+field[:1]+"}", field+": {name: other}", 1)
	}
	return []celCase{
		fixed("Sync", "spec.platformRef", "platformRef cannot be changed", other("platformRef")),
		fixed("Sync", "spec.audienceRef", "audienceRef cannot be changed", other("audienceRef")),
		fixed("Sync", "spec.destinationRef", "destinationRef cannot be changed", other("destinationRef")),
	}
}
