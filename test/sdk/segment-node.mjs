// Sends the calls with @segment/analytics-node. Ends when its standard input does and everything is sent.
import { Analytics } from '@segment/analytics-node'
import { calls, order, untilStdinEnds } from './order.mjs'

const analytics = new Analytics({ writeKey: order.key, host: order.url, flushAt: order.single ? 1 : 15, flushInterval: 200 })
analytics.on('error', (error) => console.error('segment-node:', error))
for (const { type, ...call } of calls()) analytics[type](call)
await untilStdinEnds()
await analytics.closeAndFlush({ timeout: 5000 })
