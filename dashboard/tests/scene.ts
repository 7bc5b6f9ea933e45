// A server with a job of each kind that the dashboard has something to say about.
import { join } from 'node:path';
import { Server, until } from './server.ts';

/** Text of a record that must stay text: markup, and a character that reverses the text behind it. */
export const HOSTILE = '!<img src=x onerror="document.title=\'owned\'"><script>document.title="owned"</script>\u202egnitser';

const FLIGHTS = join(import.meta.dirname, '../../examples/late-flights/data/flights.csv.gz');

/** The example late-flights, slowed down so that it runs during the tests. */
const flights = (rate: number) => `
name = "late-flights"
parallelism = 2
[checkpoint]
interval = "1s"
[state]
backend = "rocksdb"
[source.flights]
connector = "file"
path = "${FLIGHTS}"
format = "csv"
header = true
timestamp = { field = "time_hour", format = "rfc3339" }
rate = ${rate}
parallelism = 1
[operator.parse]
input = "flights"
key = { field = "tailnum" }
component = "late-flights@1"
function = "parse"
on_fault = "dead-letter"
[operator.track]
input = "parse"
key = { field = "tailnum" }
component = "late-flights@1"
function = "track"
[sink.delays]
input = "track"
connector = "blackhole"
[sink.bad]
inputs = ["parse.dead-letter"]
connector = "blackhole"
`;

/** A slow operator in the middle. Each record is a number of steps of work. */
const SLOW = `
name = "slow-model"
[batch]
records = 16
[checkpoint]
interval = "2s"
[source.requests]
connector = "generator"
template = "400000"
[operator.score]
input = "requests"
component = "printing@1"
function = "work"
[sink.scores]
input = "score"
connector = "blackhole"
`;

/** A function that panics on one record. */
const faulting = (dir: string) => `
name = "orders-to-lake"
[source.orders]
connector = "file"
path = "${dir}/orders.txt"
[operator.price]
input = "orders"
component = "misbehaving@1"
function = "panic"
[sink.lake]
input = "price"
connector = "blackhole"
`;

/** Letters that the server keeps, in a job that does not end. */
const letters = (dir: string) => `
name = "payments"
[checkpoint]
interval = "500ms"
[source.payments]
connector = "file"
path = "${dir}/payments.csv"
format = "csv"
header = false
[source.clock]
connector = "generator"
rate = 20
[operator.sum]
input = "payments"
key = { column = 0 }
component = "repairable@1"
function = "sum"
on_fault = "dead-letter"
[sink.sums]
input = "sum"
connector = "blackhole"
[sink.ticks]
input = "clock"
connector = "blackhole"
`;

/** Checkpoints that take longer than they may. */
const FAILING_CHECKPOINTS = `
name = "slow-storage"
[checkpoint]
interval = "500ms"
timeout = "1ms"
tolerable_failures = 1000000
[state]
backend = "rocksdb"
[source.clicks]
connector = "generator"
template = "{key},{n}"
rate = 200
[operator.count]
input = "clicks"
key = { column = 0 }
component = "repairable@1"
function = "sum"
[sink.counts]
input = "count"
connector = "blackhole"
`;

export interface Scene {
  server: Server;
  flights: string;
  slow: string;
  faulting: string;
  letters: string;
  failing: string;
}

const REPAIR_LEVEL = 'repair-level:1';

export async function openScene(name: string, rate = 400): Promise<Scene> {
  const server = await Server.fresh(name);
  await server.push('late-flights', 'late-flights@1');
  await server.push('printing', 'printing@1');
  await server.push('misbehaving', 'misbehaving@1');
  await server.push('repairable', 'repairable@1');
  await server.push('repairable', 'repairable@2', (bytes) => {
    bytes[bytes.indexOf(REPAIR_LEVEL) + REPAIR_LEVEL.length - 1] = '2'.charCodeAt(0);
    return bytes;
  });
  server.write('orders.txt', ['order 1, 3 apples', 'order 2, 1 pear', HOSTILE, 'order 4, 2 plums'].join('\n') + '\n');
  const payments = Array.from({ length: 60 }, (_, i) => `customer-${i % 7},${i % 5 === 0 ? 'bad' : ''}${i}`);
  server.write('payments.csv', payments.concat(`"<b>customer</b>\u202e",bad7`).join('\n') + '\n');
  const scene = {
    server,
    faulting: await server.submit(faulting(server.dir)),
    failing: await server.submit(FAILING_CHECKPOINTS),
    letters: await server.submit(letters(server.dir)),
    slow: await server.submit(SLOW),
    flights: await server.submit(flights(rate)),
  };
  await server.waitFor(scene.faulting, 'FAILED');
  await until('dead letters', async () => (await server.api<{ total: number }>('GET', `/v1/jobs/${scene.letters}/dead-letters`)).total === 13);
  await until('checkpoints', async () => (await server.api<unknown[]>('GET', `/v1/jobs/${scene.flights}/checkpoints`)).length > 2);
  await until('a bottleneck', async () => (await server.api<{ bottleneck: string }>('GET', `/v1/jobs/${scene.slow}/metrics`)).bottleneck === 'score');
  return scene;
}
