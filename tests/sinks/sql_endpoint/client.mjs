// Asks the endpoint with npm's @clickhouse/client, and prints what it got as one JSON object.
import { createClient } from '@clickhouse/client'

const [url, username, password] = process.argv.slice(2)
const client = createClient({ url, username, password })
const json = async (query, options = {}) =>
  (await client.query({ query, format: 'JSONEachRow', ...options })).json()
const refused = async (work) => {
  try {
    await work()
    return null
  } catch (error) {
    return { code: error.code, type: error.type }
  }
}

const found = {}
found.ping = (await client.ping()).success
found.select = (await client.ping({ select: true })).success
found.rows = await json('SELECT node, count() AS n FROM processes GROUP BY node ORDER BY node')
found.bound = await json('SELECT {text:String} AS text, {list:Array(UInt8)} AS list', {
  query_params: { text: "it's\ta \\ line\n", list: [1, 2] },
})
found.settings = await json("SELECT getSetting('max_threads') AS n", {
  clickhouse_settings: { max_threads: 1 },
})
found.whole = await (await client.query({ query: 'SELECT 1 AS a', format: 'JSON' })).json()
let streamed = 0
const stream = await client.query({
  query: 'SELECT number, toString(number) AS text FROM numbers(500000)',
  format: 'JSONEachRow',
})
for await (const rows of stream.stream()) streamed += rows.length
found.streamed = streamed
const packed = createClient({ url, username, password, compression: { response: true } })
found.packed = await (
  await packed.query({ query: 'SELECT sum(number) AS s FROM numbers(10)', format: 'JSONEachRow' })
).json()
await packed.close()
found.broken = await refused(async () => {
  const result = await client.query({
    query: 'SELECT number, throwIf(number = 2900000) FROM numbers(3000000)',
    format: 'JSONEachRow',
    clickhouse_settings: { max_threads: 1 },
  })
  for await (const rows of result.stream()) rows.length
})
found.unknown = await refused(() => json('SELECT nope'))
found.file = await refused(() => json("SELECT file('/etc/passwd')"))
found.insert = await refused(() =>
  client.insert({ table: 'process_events', values: [{ pid: 1 }], format: 'JSONEachRow' }),
)
found.ddl = await refused(() => client.command({ query: 'DROP TABLE process_events' }))
const stranger = createClient({ url, username, password: 'wrong' })
found.stranger = await refused(() => stranger.query({ query: 'SELECT 1' }))
await stranger.close()
await client.close()
console.log(JSON.stringify(found))
