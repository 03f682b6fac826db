// Node's `ws` against a server that speaks Binance's protocol. It plays what
// the test in ../foreign_test.go tells of, and prints one line of JSON for each
// thing that it saw.
'use strict'
const WebSocket = require('ws')

const [base, closing, a, b] = process.argv.slice(2)
const told = (step, more) => console.log(JSON.stringify({ step, ...more }))
const wait = (ms) => new Promise((done) => setTimeout(done, ms))

function open(url) {
  const ws = new WebSocket(url)
  const seen = { trades: 0, aggregates: 0, pings: 0, answers: 0, shutdowns: 0 }
  const waiting = []
  const changed = () => {
    for (let i = waiting.length - 1; i >= 0; i--) {
      if (waiting[i].ok(seen)) waiting.splice(i, 1)[0].done()
    }
  }
  ws.on('ping', () => { seen.pings++; changed() })
  ws.on('pong', () => { seen.pong = true; changed() })
  ws.on('message', (text, binary) => {
    if (binary) throw new Error('a binary message')
    const event = JSON.parse(text)
    const data = event.data ?? event
    if (data.e === 'trade') seen.trades++
    else if (data.e === 'aggTrade') seen.aggregates++
    else if (data.e === 'serverShutdown') seen.shutdowns++
    else seen.answers++
    told('message', { event })
    changed()
  })
  ws.on('close', (code, reason) => { told('close', { code, reason: String(reason) }); seen.closed = true; changed() })
  ws.on('error', (err) => { throw err })
  const until = (ok) => ok(seen) ? Promise.resolve() : new Promise((done) => waiting.push({ ok, done }))
  return new Promise((done) => ws.on('open', () => done({ ws, seen, until })))
}

async function main() {
  const raw = await open(`${base}/ws/${a}@trade`)
  await raw.until((s) => s.trades >= 20)
  const requests = [
    { method: 'SUBSCRIBE', params: [`${b}@aggTrade`], id: 1 },
    { method: 'LIST_SUBSCRIPTIONS', id: 2 },
    { method: 'UNSUBSCRIBE', params: [`${a}@trade`], id: 3 },
    { method: 'LIST_SUBSCRIPTIONS', id: 'four' },
    { method: 'JUMP', id: 5 },
  ]
  for (const [i, r] of requests.entries()) {
    raw.ws.send(JSON.stringify(r))
    await raw.until((s) => s.answers > i)
    await wait(400) // five messages a second are allowed, pongs among them
  }
  const before = raw.seen.aggregates
  await raw.until((s) => s.aggregates >= before + 5 && s.pings >= 4)
  raw.ws.ping()
  await raw.until((s) => s.pong)
  told('kept', { pings: raw.seen.pings })
  raw.ws.close(1000)
  await raw.until((s) => s.closed)

  const combined = await open(`${base}/stream?streams=${a}@trade/${b}@aggTrade`)
  await combined.until((s) => s.trades >= 10 && s.aggregates >= 10)
  combined.ws.close(1000)
  await combined.until((s) => s.closed)

  const careless = await open(`${base}/ws`)
  for (let i = 0; i < 12; i++) careless.ws.send('{"method":"LIST_SUBSCRIPTIONS","id":6}')
  await careless.until((s) => s.closed)

  const last = await open(`${closing}/stream?streams=${a}@trade`)
  await last.until((s) => s.shutdowns > 0 && s.closed)
}

main().catch((err) => { console.error(err); process.exit(1) })
