// Sends the calls with @segment/analytics-next from a page in Chromium, on a site that is not the collector's.
import { createReadStream } from 'node:fs'
import { createServer } from 'node:http'
import { basename, dirname, join } from 'node:path'
import { createRequire } from 'node:module'
import { chromium } from 'playwright-core'
import { order, untilStdinEnds } from './order.mjs'

const bundle = join(dirname(createRequire(import.meta.url).resolve('@segment/analytics-next/package.json')), 'dist/umd')
const server = createServer((request, response) => {
  const name = basename(new URL(request.url, 'http://x').pathname)
  if (!name.endsWith('.js')) {
    response.setHeader('Content-Type', 'text/html; charset=utf-8')
    response.end('<!doctype html><title>A shop</title><script src="/umd/index.js"></script>')
    return
  }
  response.setHeader('Content-Type', 'text/javascript; charset=utf-8')
  createReadStream(join(bundle, name)).on('error', () => response.writeHead(404).end()).pipe(response)
})
await new Promise((listening) => server.listen(0, '127.0.0.1', listening))
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  // As root Chromium has no sandbox; the rest keeps it from looking for its vendor's servers.
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
})
try {
  const page = await browser.newPage()
  page.on('pageerror', (error) => console.error('browser:', error.message))
  await page.goto(`http://127.0.0.1:${server.address().port}/shop?from=mail`)
  await page.evaluate(async ({ url, key, single, calls }) => {
    // As its manual says: the settings come from the collector, which tells where to send.
    const [analytics] = await window.AnalyticsNext.AnalyticsBrowser.load(
      { writeKey: key, cdnURL: url },
      { integrations: { 'Segment.io': { protocol: 'http', deliveryStrategy: single ? { strategy: 'standard' } : { strategy: 'batching', config: { size: 10, timeout: 300 } } } } },
    )
    for (const c of calls) {
      const options = { context: c.context, timestamp: c.timestamp }
      // Not awaited: a call's promise ends when its event is delivered, and it may be tried for minutes.
      switch (c.type) {
        case 'identify': void analytics.identify(c.userId, c.traits, options); break
        case 'track': void analytics.track(c.event, c.properties, options); break
        case 'page': void analytics.page(c.category, c.name, c.properties, options); break
        case 'screen': void analytics.screen(c.category, c.name, c.properties, options); break
        case 'group': void analytics.group(c.groupId, c.traits, options); break
        case 'alias': void analytics.alias(c.userId, c.previousId, options); break
      }
    }
  }, order)
  await untilStdinEnds()
} finally {
  await browser.close()
  server.close()
}
