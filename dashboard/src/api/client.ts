// Requests to the API. The token is sent as a header and is never part of a URL.
import { signal } from '@preact/signals';

const TOKEN_ITEM = 'cofferdam-token';
const NAMESPACE_ITEM = 'cofferdam-namespace';

export const token = signal<string | null>(sessionStorage.getItem(TOKEN_ITEM));
export const namespace = signal<string | null>(sessionStorage.getItem(NAMESPACE_ITEM));
/** Whether the server has refused the page's requests for want of a token. */
export const needsToken = signal(false);

/** A problem document (RFC 9457), or what a failed connection looks like as one. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
    readonly hint?: string,
  ) {
    super(detail);
  }
}

export function signIn(text: string, ofNamespace: string | null, keep: boolean): void {
  token.value = text;
  namespace.value = ofNamespace;
  needsToken.value = false;
  if (!keep) return;
  sessionStorage.setItem(TOKEN_ITEM, text);
  if (ofNamespace) sessionStorage.setItem(NAMESPACE_ITEM, ofNamespace);
}

export function signOut(): void {
  token.value = null;
  namespace.value = null;
  sessionStorage.removeItem(TOKEN_ITEM);
  sessionStorage.removeItem(NAMESPACE_ITEM);
}

function headers(more: Record<string, string> = {}): Record<string, string> {
  const all = { ...more };
  if (token.value) all.authorization = `Bearer ${token.value}`;
  if (namespace.value) all['x-cofferdam-namespace'] = namespace.value;
  return all;
}

async function problemOf(response: Response): Promise<Problem> {
  try {
    const body = await response.json();
    return new Problem(response.status, body.code, body.detail, body.hint);
  } catch {
    return new Problem(response.status, 'internal', `the server answered with ${response.status}`);
  }
}

/** Sends a request. Throws a [Problem] unless it succeeds. */
export async function send(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, {
      method,
      signal,
      cache: 'no-store',
      headers: headers(body === undefined ? {} : { 'content-type': 'application/json' }),
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(0, 'server-unreachable', 'the server does not answer');
  }
  if (response.ok) return response;
  const problem = await problemOf(response);
  if (response.status === 401) needsToken.value = true;
  throw problem;
}

export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await send('GET', path, undefined, signal)).json();
}

export async function post<T>(path: string, body?: unknown): Promise<T | null> {
  const response = await send('POST', path, body);
  const text = await response.text();
  return text ? JSON.parse(text) : null;
}

/** Escapes a part of a path or a value of a query. */
export const part = encodeURIComponent;

/** The path of a job's resource. */
export const jobPath = (id: string, rest = '') => `/v1/jobs/${part(id)}${rest}`;
