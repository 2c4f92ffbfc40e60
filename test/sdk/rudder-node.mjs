// Sends the calls with @rudderstack/rudder-sdk-node. Ends when its standard input does.
import RudderAnalytics from '@rudderstack/rudder-sdk-node'
import { calls, order, untilStdinEnds } from './order.mjs'

const analytics = new RudderAnalytics(order.key, { dataPlaneUrl: order.url, flushAt: order.single ? 1 : 20, flushInterval: 200, retryCount: 10, logLevel: 'error' })
for (const { type, ...call } of calls()) analytics[type](call)
await untilStdinEnds()
process.exit(0) // its timers would keep it
