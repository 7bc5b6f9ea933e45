// A `cofferdam serve` process on a free port of loopback, with what tests do to it.
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const env = (name: string): string => {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: run these tests with \`cargo xtask web --test\``);
  return value;
};

const START_MS = 60_000;

/** Waits until `find` returns something. */
export async function until<T>(what: string, find: () => Promise<T | null | undefined | false>, ms = 60_000): Promise<T> {
  const end = Date.now() + ms;
  for (;;) {
    const found = await find();
    if (found) return found;
    if (Date.now() > end) throw new Error(`timed out: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Servers that a test which failed has left. */
const children = new Set<ChildProcess>();
process.on('exit', () => children.forEach((child) => child.kill('SIGKILL')));

export class Server {
  private child: ChildProcess | null = null;
  private port = 0;
  token: string | null = null;

  constructor(readonly dir: string) {}

  /** Starts a server in a new folder below the folder of the tests. */
  static async fresh(name: string): Promise<Server> {
    const dir = join(env('COFFERDAM_WORK'), name);
    rmSync(dir, { recursive: true, force: true });
    mkdirSync(dir, { recursive: true });
    const server = new Server(dir);
    await server.start();
    return server;
  }

  get base(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Starts the server, on the same port as before. */
  async start(): Promise<void> {
    const child = spawn(
      env('COFFERDAM_BINARY'),
      ['serve', '--listen', `127.0.0.1:${this.port}`, '--data-dir', join(this.dir, 'data'), '--allow-path', this.dir, '--allow-path', join(import.meta.dirname, '../..')],
      { stdio: ['ignore', 'pipe', 'ignore'] },
    );
    this.child = child;
    children.add(child);
    child.once('exit', () => children.delete(child));
    const lines = createInterface({ input: child.stdout! });
    this.port = await new Promise<number>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('the server did not start')), START_MS);
      child.on('exit', (code) => reject(new Error(`the server ended with ${code}`)));
      lines.on('line', (line) => {
        const found = /listening on http:\/\/[^:]+:(\d+)/.exec(line);
        if (!found) return;
        clearTimeout(timer);
        resolve(Number(found[1]));
      });
    });
    await until('the server is ready', async () => (await fetch(`${this.base}/readyz`)).ok);
  }

  /** Kills the server with SIGKILL. */
  async kill(): Promise<void> {
    const child = this.child;
    this.child = null;
    if (!child || child.exitCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
  }

  write(name: string, text: string): string {
    const path = join(this.dir, name);
    writeFileSync(path, text);
    return path;
  }

  /** Runs a command of the binary on the data folder. */
  async run(...args: string[]): Promise<string> {
    const child = spawn(env('COFFERDAM_BINARY'), [...args, '--data-dir', join(this.dir, 'data')], { stdio: ['ignore', 'pipe', 'inherit'] });
    let text = '';
    child.stdout!.on('data', (chunk) => (text += chunk));
    await new Promise((resolve) => child.once('close', resolve));
    return text;
  }

  async api<T>(method: string, path: string, body?: string | Buffer, type = 'application/json'): Promise<T> {
    const headers: Record<string, string> = body ? { 'content-type': type } : {};
    if (this.token) headers.authorization = `Bearer ${this.token}`;
    const response = await fetch(this.base + path, { method, headers, body: body as BodyInit });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return text ? JSON.parse(text) : (null as T);
  }

  /** Uploads a test component. `change` may alter its bytes. */
  async push(file: string, name: string, change: (bytes: Buffer) => Buffer = (bytes) => bytes): Promise<void> {
    const bytes = change(readFileSync(join(env('COFFERDAM_COMPONENTS'), `${file}.wasm`)));
    await this.api('POST', `/v1/components?name=${name}`, bytes, 'application/wasm');
  }

  async submit(pipeline: string): Promise<string> {
    const job = await this.api<{ id: string }>('POST', `/v1/jobs?base_dir=${encodeURIComponent(this.dir)}`, pipeline, 'application/toml');
    return job.id;
  }

  async waitFor(job: string, status: string): Promise<void> {
    await until(`${job} is ${status}`, async () => (await this.api<{ status: string }>('GET', `/v1/jobs/${job}`)).status === status);
  }
}
