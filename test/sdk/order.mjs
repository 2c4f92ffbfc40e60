// What the test orders: {url, key, single, calls}. single asks for a request for each event.
export const order = JSON.parse(process.argv[2])

// calls as the server SDKs take them, whose times are Dates.
export const calls = () => order.calls.map((c) => (c.timestamp ? { ...c, timestamp: new Date(c.timestamp) } : c))

// The test closes standard input when everything has arrived.
export const untilStdinEnds = () => new Promise((ended) => process.stdin.on('end', ended).on('error', ended).resume())
